/**
 * How a runner is started: as a process, or in a container. Declared here, by the part that needs it.
 *
 * Invariants
 *  R1 A runner inherits nothing: no environment but the block's, no descriptor but its three pipes.
 *  R2 `kill` ends everything that the runner started, and says what it could not end. It may be called at any time, twice,
 *     and after the runner ended by itself: children may have stayed.
 */
import type { Readable, Writable } from 'node:stream';
import type { LaunchSpec } from '../spec.ts';

export interface RunnerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunnerProcess {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exited: Promise<RunnerExit>;
  /** `sif:` digest of the image as it was measured; undefined where there is none. */
  readonly image?: string;
  /** What network the runner was given. */
  readonly network: 'none' | 'host';
  /** Processes that could not be ended (uninterruptible sleep, another user); empty is what is hoped for. */
  kill(graceMs: number): Promise<{ readonly left: readonly number[] }>;
}

export interface RunnerPlan {
  readonly spec: LaunchSpec;
  /** The runner's own folder for scratch files, and its working directory. */
  readonly scratchDir: string;
  /** Of this runner alone: which accelerators it sees (gpus.ts). */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Runtime {
  readonly name: string;
  start(plan: RunnerPlan): Promise<RunnerProcess>;
}
