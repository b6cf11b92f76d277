/**
 * A batch scheduler, as far as this agent needs one: three verbs, of which `status` asks for many at once.
 *
 * Invariants
 *  S1 A state that a driver does not know is `unknown`, never `ended`: an unknown block counts against limits, and nothing
 *     of it is started again.
 *  S2 `submit` may be called again after a reply was lost: it looks for a job of this block before it makes another.
 *  S3 Drivers hold no state: what they need to find a job again is in the `job` text that `submit` returns.
 */

/** What a block asks for. The driver turns it into its scheduler's words. */
export interface BlockShape {
  readonly nodes: number;
  readonly wallS: number;
  readonly account?: string;
  readonly queue?: string;
}

export interface BlockRequest {
  /** The block's id; becomes the job's name, so that a lost reply can be found again. */
  readonly block: string;
  /** The block's own folder: its file, its logs. */
  readonly folder: string;
  readonly shape: BlockShape;
}

export type JobState =
  | { readonly kind: 'queued'; readonly reason: string }
  | { readonly kind: 'running'; readonly nodes: readonly string[] }
  /** Over: `why` in the scheduler's words. */
  | { readonly kind: 'ended'; readonly why: string }
  | { readonly kind: 'unknown'; readonly why: string };

export interface Scheduler {
  readonly name: string;
  /** Pushes ends by itself (`onEnd`), so that nobody polls. Batch schedulers do not. */
  readonly pushes: boolean;
  /** The job's name at the scheduler. Throws a FarfieldError where it was refused. */
  submit(request: BlockRequest): Promise<string>;
  status(jobs: readonly string[]): Promise<ReadonlyMap<string, JobState>>;
  /** Ends the job and everything in it; resolves when that is confirmed, or says what is left. */
  cancel(job: string, graceMs: number): Promise<{ readonly left: readonly string[] }>;
  /** Called once a job of this driver is seen to end, where it pushes. */
  onEnd(listener: (job: string, why: string) => void): void;
}
