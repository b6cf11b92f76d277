/** What to run, as the agent said it once for a session; leases keep theirs over reconnects. */
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Spec } from '#protos/generated/link.js';
import type { RunnerItem } from '#protos/runner.ts';

/** A Spec message with its JSON parsed and its empty texts read as absent. */
export interface LaunchSpec {
  /** The agent's statement of what may share a runner: uid, principal, manifest, image, model, runtime, network. */
  readonly poolKey: string;
  readonly adapter: string;
  /** For the adapter alone; nothing here looks into it. */
  readonly entry: Record<string, unknown> | undefined;
  /** Folder of the model; undefined for functions without one. */
  readonly modelRoot: string | undefined;
  /** What the ticket signed; measured before the load and once more after it. */
  readonly modelDigest: string;
  readonly variant: string;
  readonly runtime: string;
  readonly image: string;
  readonly threads: number;
  /** Of one attempt, from the moment its runner could begin with it. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly uncertainty: RunnerItem['uncertainty'];
  readonly manifest: string;
  /** Accelerators of one node; a container is given their driver only if there are any. */
  readonly gpus: number;
  /** Of the node, that one runner takes; 0, or no name: what a slot has. */
  readonly cores: number;
  readonly memMiB: number;
  readonly accelerator: string;
  /** Of a container: what of the host's it may see for its items (stage.ts). */
  readonly stage?: Stage;
}

/** Folders of one pool, and files that are bound one by one. */
export interface Stage {
  readonly in: string;
  readonly out: string;
  readonly files: readonly string[];
}

function json(bytes: Uint8Array, what: string): unknown {
  if (bytes.byteLength === 0) return undefined;
  try {
    return JSON.parse(fromUtf8(bytes));
  } catch (cause) {
    throw new FarfieldError('E_PROTOCOL', `the ${what} of a spec is no JSON`, { cause });
  }
}

/** Throws E_PROTOCOL: the agent made the JSON, so a defect in it is the agent's. */
export function readSpec(spec: Spec): LaunchSpec {
  return {
    poolKey: spec.poolKey,
    adapter: spec.adapter,
    entry: json(spec.entry, 'entry') as LaunchSpec['entry'],
    modelRoot: spec.modelRoot === '' ? undefined : spec.modelRoot,
    modelDigest: spec.modelDigest,
    variant: spec.variant,
    runtime: spec.runtime,
    image: spec.image,
    threads: Math.max(1, spec.threads),
    timeoutMs: spec.timeoutS * 1000,
    maxBytes: spec.maxBytes,
    uncertainty: json(spec.uncertainty, 'uncertainty') as LaunchSpec['uncertainty'],
    manifest: spec.manifest,
    gpus: spec.gpus,
    cores: spec.cores,
    memMiB: spec.memMib,
    accelerator: spec.accelerator,
  };
}
