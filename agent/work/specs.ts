/**
 * What to run, as pilots are told: equal specs share a number, and runners are shared by equal pool keys only.
 *
 * The pool key holds uid, principal, manifest, image, model, runtime and network. A built-in adapter of a `model` function
 * runs nobody's code, so its principal may be left out if the site's configuration says so; otherwise one user's state
 * could live on into another's call.
 */

import type { Need } from '#kernel/resources.ts';
import type { Spec } from '#protos/generated/link.js';
import type { Work } from './mirror.ts';

/** Adapters that run nobody's code: a program or Python of one user must not live on into another's call. */
const SHAREABLE: ReadonlySet<string> = new Set(['noop', 'ort']);

export interface SpecOptions {
  readonly uid: number;
  readonly shareModelRunners: boolean;
  /** Folder of a model by its digest, or undefined when the endpoint does not have it. */
  readonly modelRoot: (digest: string) => string | undefined;
  readonly threadsPerSlot: number;
  /** Work of different groups runs in different blocks (blocks/groups.ts): it waits in lines of its own. */
  readonly groupOf?: (work: Work) => string;
}

export interface Specs {
  /** The spec of a ticket, minted at first sight. */
  of(work: Work): Spec;
}

export function createSpecs(options: SpecOptions): Specs {
  const byKey = new Map<string, Spec>();
  const byTicket = new WeakMap<Work, Spec>();
  return {
    of(work) {
      const known = byTicket.get(work);
      if (known !== undefined) return known;
      const made = build(options, work);
      const key = JSON.stringify([
        made.poolKey,
        options.groupOf?.(work) ?? '',
        made.timeoutS,
        made.maxBytes,
        Buffer.from(made.uncertainty).toString(),
      ]);
      const spec = byKey.get(key) ?? { ...made, specNo: byKey.size + 1 };
      byKey.set(key, spec);
      byTicket.set(work, spec);
      return spec;
    },
  };
}

/** What one item of this work takes of a node: as its function says, and the accelerators that its ticket asks for. */
export function needOf({ manifest, token }: Pick<Work, 'manifest' | 'token'>): Need {
  const { cores = 0, memMiB = 0, gpus = 0, accelerator = '' } = manifest?.claims.needs ?? {};
  return { cores, memMiB, gpus: Math.max(gpus, token.claims.res?.gpusPerNode ?? 0), accelerator };
}

function build(options: SpecOptions, work: Work): Omit<Spec, 'specNo'> {
  const { claims } = work.token;
  const { manifest } = work;
  const model = claims.mdl[0];
  const { variant, image, runtime } = work.choice;
  const { cores, memMiB, gpus, accelerator } = needOf(work);
  // Who asked for cores has them to itself; who did not shares the node's with the other slots.
  const threads = cores > 0 ? cores : Math.min(claims.res.cpusPerNode, options.threadsPerSlot);
  const { kind, adapter } = manifest.claims;
  const shared = options.shareModelRunners && kind === 'model' && SHAREABLE.has(adapter);
  const poolKey = JSON.stringify([
    options.uid,
    shared ? null : work.ticket.principal,
    manifest.digest,
    image ?? null,
    model?.digest ?? null,
    runtime,
    'none',
    threads,
    // A driver is bound at the start of a container: who asked for none shares no runner with one that has it.
    Math.min(1, claims.res.gpusPerNode ?? 0),
    // A runner keeps what it was started with.
    ...(manifest.claims.needs === undefined ? [] : [cores, memMiB, gpus, accelerator]),
  ]);
  return {
    poolKey,
    adapter: manifest.claims.adapter,
    entry: Buffer.from(JSON.stringify(manifest.claims.entry ?? {})),
    modelRoot: model === undefined ? '' : (options.modelRoot(model.digest) ?? ''),
    modelDigest: model?.digest ?? '',
    variant,
    runtime,
    image: image ?? '',
    threads,
    timeoutS: claims.run.timeoutS,
    maxBytes: claims.out.maxBytes,
    uncertainty: Buffer.from(claims.run.uncertainty === undefined ? '' : JSON.stringify(claims.run.uncertainty)),
    manifest: manifest.digest,
    gpus,
    cores,
    memMib: memMiB,
    accelerator,
  };
}
