/** Copies a shard's result into the whole, block by block. */
import { join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { Collected } from '../collected.ts';
import type { Hdf5Library } from '../hdf5/library.ts';
import { Hdf5File } from '../hdf5/reader.ts';
import type { Loaded } from '../model-calls.ts';
import type { RowResults } from '../rows.ts';
import type { RowSink, UncertaintyColumns } from '../sinks.ts';
import type { RowUncertainty } from '../uncertainty/judge.ts';
import type { Sidecar } from './sidecar.ts';

const BLOCK_ROWS = 16_384;

export interface Copying {
  readonly folder: string;
  readonly library: Hdf5Library;
  readonly plan: Loaded['plan'];
  readonly uncertainty: UncertaintyColumns | undefined;
  readonly sink: RowSink;
  readonly collected: Collected;
}

/**
 * Copies a shard's rows block by block, and shows them to the comparison with labels as a pass would. The file must hold the
 * rows that its sidecar says, compared with labels where it says so: a sidecar can be written anew for another's result.
 */
export function copyShard(
  { folder, library, plan, uncertainty, sink, collected }: Copying,
  { shard, job, result }: Pick<Sidecar, 'shard' | 'job' | 'result'>,
): void {
  using file = Hdf5File.open(library, join(folder, result.file), result.file);
  const compared = file.datasets().some(({ path }) => path === '/compared/truth');
  if (compared !== (job.labels !== null)) throw another(result.file);
  using reader = new BlockReader(file);
  const { columns } = plan.output;
  const rows = shard.to - shard.from;
  for (let from = 0; from < rows; from += BLOCK_ROWS) {
    const n = Math.min(BLOCK_ROWS, rows - from);
    const index = new Uint32Array(reader.bytes('/row_index', from, n).buffer);
    if (index.some((row, i) => row !== shard.from + from + i)) throw another(result.file);
    const results: RowResults = {
      predictions: reader.f4('/pred', from, n),
      flags: reader.bytes('/flags', from, n),
      features: job.labels !== null ? reader.f4('/compared/feature', from, n) : new Float32Array(n),
      baselines:
        job.labels !== null && plan.baselines > 0
          ? splitBaselines(reader.f4('/compared/baseline', from, n), n, plan.baselines, columns)
          : [],
    };
    const truth = job.labels !== null ? new Float64Array(reader.bytes('/compared/truth', from, n).buffer) : undefined;
    collected.add(n, results, truth);
    sink.write(shard.from + from, n, results, uncertainty && said(reader, from, n, uncertainty));
  }
}

const another = (file: string): FarfieldError =>
  new FarfieldError(
    'E_INCOMPLETE',
    `${file} is not what its sidecar says: it was made of other rows or labels; remove both and run the shard again`,
  );

/** What the shard's judge said of its rows. */
function said(reader: BlockReader, from: number, n: number, columns: UncertaintyColumns): RowUncertainty {
  const { levels, classes, reference } = columns;
  return {
    levels,
    radius: classes ? new Float32Array(0) : reader.f4('/uq/radius', from, n),
    sets: classes ? reader.bytes('/uq/set', from, n) : undefined,
    group: reader.bytes('/uq/group', from, n),
    p: reference ? reader.f4('/uq/ood_p', from, n) : undefined,
  };
}

/** Rows of any data set of a file; each is opened once. */
class BlockReader implements Disposable {
  readonly #file: Hdf5File;
  readonly #opened = new Map<string, ReturnType<Hdf5File['dataset']>>();

  constructor(file: Hdf5File) {
    this.#file = file;
  }

  bytes(name: string, from: number, n: number): Uint8Array<ArrayBuffer> {
    const dataset = this.#opened.get(name) ?? this.#file.dataset(name);
    this.#opened.set(name, dataset);
    const bytes = new Uint8Array(n * dataset.info.rowBytes);
    dataset.readRows(from, n, bytes);
    return bytes;
  }

  f4(name: string, from: number, n: number): Float32Array {
    return new Float32Array(this.bytes(name, from, n).buffer);
  }

  [Symbol.dispose](): void {
    for (const dataset of this.#opened.values()) dataset[Symbol.dispose]();
  }
}

function splitBaselines(values: Float32Array, n: number, baselines: number, columns: number): Float32Array[] {
  return Array.from({ length: baselines }, (_, k) => {
    const one = new Float32Array(n * columns);
    for (let row = 0; row < n; row++) {
      const at = (row * baselines + k) * columns;
      one.set(values.subarray(at, at + columns), row * columns);
    }
    return one;
  });
}
