/**
 * The model's words beside the shards: model.json and the error calibration, by which a merge reads what the shards hold.
 *
 * So a folder of shards can be merged on another machine, or when the model has moved on. Weights are not kept: a merge
 * computes nothing.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { writeDurableSync } from '#base/files.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { OpenModel } from '../model.ts';

/** `digest` is that of model.json, with or without its prefix. */
export const keptModel = (folder: string, digest: string): string =>
  join(folder, `model-${digest.replace(/^sha256:/, '').slice(0, 16)}`);

/** Writes what is not there yet; two runners that do it at once write the same bytes. */
export function keepModel(folder: string, { root, digest, model }: OpenModel): void {
  const kept = keptModel(folder, digest);
  const calibration = model.uncertainty?.calibration;
  const files = [
    { file: 'model.json', sha256: digest },
    ...(calibration === undefined ? [] : [{ file: calibration.file, sha256: calibration.sha256 }]),
  ];
  for (const { file, sha256 } of files) {
    const to = join(kept, file);
    const from = join(root, file);
    if (statSync(to, { throwIfNoEntry: false })?.size === statSync(from).size) continue;
    const bytes = readFileSync(from);
    if (sha256Hex(bytes) !== sha256) throw new FarfieldError('E_MODEL', `${file} changed while the shard was prepared`);
    mkdirSync(dirname(to), { recursive: true });
    writeDurableSync(to, bytes, 0o644);
  }
}
