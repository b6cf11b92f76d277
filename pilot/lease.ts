/** One attempt that the agent gave to this pilot, from its launch to the acknowledgement of its outcome. */
import type { FileIdentity } from '#base/file-digests.ts';
import type { Gang, HeldLease } from '#protos/generated/link.js';
import type { RunnerItem } from '#protos/runner.ts';
import type { LaunchSpec } from './spec.ts';

/** A file argument as it was measured: it must be the same file when the item ends. */
export interface CheckedFile {
  readonly path: string;
  readonly identity: FileIdentity;
}

/** Why an item is to stop, and what its outcome is if it does. */
export interface StopOrder {
  readonly kind: 'cancel' | 'timeout';
  readonly reason: string;
}

export interface Lease {
  /** The runner's handle of it: `<key>.<attempt>`. */
  readonly id: string;
  readonly key: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
  readonly spec: LaunchSpec;
  readonly item: RunnerItem;
  /** Inline arguments, in the order of the item's inline args. */
  readonly body: readonly Uint8Array[];
  readonly bodyBytes: number;
  readonly files: readonly CheckedFile[];
  /** Digests of all arguments, in order, where some of them are files: for the measurements. */
  readonly argDigests: readonly string[];
  /** Inline arguments that were written to files, because they hold data sets that are named inside; ours to delete. */
  readonly spilled: readonly string[];
  readonly hasOutDir: boolean;
  /** Where results lie when the item has ended; in a container it wrote them elsewhere (`written`). */
  readonly outDir: string;
  /** On the host; the same folder where there is no container. */
  readonly written: string;
  readonly receivedAt: number;
  /** This pilot's part of a program over several nodes; its ranks begin when all parts are ready. */
  readonly gang: Gang | undefined;
  startedAt: number;
  stop: StopOrder | undefined;
  /** The state that the agent was told last. */
  announced: string;
}

export function leaseId(key: number, attempt: number): string {
  return `${key}.${attempt}`;
}

export function heldOf(lease: Pick<Lease, 'key' | 'attempt' | 'leaseEpoch'>): HeldLease {
  return { key: lease.key, attempt: lease.attempt, leaseEpoch: lease.leaseEpoch };
}
