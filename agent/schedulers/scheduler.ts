/**
 * A batch scheduler, as far as this agent needs one: three verbs, of which `status` asks for many at once.
 *
 * Invariants
 *  S1 A state that a driver does not know is `unknown`, a job that is in no listing is `absent`; neither is ever `ended`.
 *     Such a block counts against limits, and nothing of it is started again on that word alone.
 *  S2 `submit` settles a lost reply itself: it looks for a job of this block's name before it says that there is none.
 *  S3 Drivers hold no state: what they need to find a job again is in the `job` text that `submit` returns.
 *  S4 The code of a failed submit says what waiting is good for: E_FORBIDDEN never, E_BUSY and E_TIMEOUT yes, any other is not
 *     known. The message has the scheduler's own words, and for E_FORBIDDEN what to do.
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
  /** Whom it serves: told to the site in the job's comment. */
  readonly users?: readonly string[];
  /** Nodes that lost a pilot recently, the latest first: not used, where others are free and the scheduler lets that be said. */
  readonly avoid?: readonly string[];
}

/** Why a job is over. Who pays for the attempts in it is decided by this word, so no driver guesses it. */
export const END_CAUSES = [
  'completed',
  'failed',
  'cancelled',
  'walltime',
  'deadline',
  'memory',
  'preempted',
  'nodeLost',
  /** The scheduler could not start it: a script, an image or a prolog at fault. */
  'launchFailed',
  /** A sibling of a federation runs it. */
  'revoked',
  /** Over, and nobody can say how. */
  'lost',
] as const;
export type EndCause = (typeof END_CAUSES)[number];

export interface Ended {
  readonly kind: 'ended';
  readonly cause: EndCause;
  /** In the scheduler's words. */
  readonly why: string;
  /** Who cancelled it, as the scheduler names them. */
  readonly by?: string;
  /** Its time limit, which an admin may have changed. */
  readonly limitS?: number;
  /** It ended so shortly before that limit that its pilot had been warned. */
  readonly atLimit?: boolean;
}

/** What a scheduler can say of a job that it lists. */
export type ListedState =
  | { readonly kind: 'queued'; readonly reason: string; readonly startsAtMs?: number }
  | { readonly kind: 'held'; readonly reason: string }
  /** It has nodes, which boot or are prepared. */
  | { readonly kind: 'starting'; readonly nodes: readonly string[] }
  | { readonly kind: 'running'; readonly nodes: readonly string[] }
  /** It keeps its nodes and does not run: its pilots are silent, not dead. */
  | { readonly kind: 'suspended'; readonly reason: string }
  /** Over for us; its nodes are not free yet. */
  | { readonly kind: 'ending'; readonly reason: string }
  | Ended
  | { readonly kind: 'unknown'; readonly why: string };

/** A fact about answers, not about the job: every source was asked and none lists it. */
export interface Absent {
  readonly kind: 'absent';
  readonly why: string;
}

export type JobState = ListedState | Absent;

/** `end` where the scheduler says more than the cause. */
export type OnEnd = (job: string, why: string, cause: EndCause, end?: Ended) => void;

export interface Scheduler {
  readonly name: string;
  /** Pushes ends by itself (`onEnd`), so that nobody else polls. */
  readonly pushes: boolean;
  /** The job's name at the scheduler. Throws a FarfieldError where it was refused. */
  submit(request: BlockRequest): Promise<string>;
  status(jobs: readonly string[]): Promise<ReadonlyMap<string, JobState>>;
  /** Ends the job and everything in it; resolves when that is confirmed, or says what is left. */
  cancel(job: string, graceMs: number): Promise<{ readonly left: readonly string[] }>;
  /** Called once a job of this driver is seen to end, where it pushes. */
  onEnd(listener: OnEnd): void;
  /**
   * Called for a job that was absent for long. Whether it is lost is for those to say who know its pilots' links: a scheduler
   * that forgot a job may still run it.
   */
  onAbsent?(listener: (job: string, why: string) => void): void;
  /** What a look said of a job that is not over, and how often the site started it again where it says so. */
  onState?(listener: (job: string, state: JobState, restarts: number | undefined) => void): void;
  /**
   * The job of a block whose submit was never answered; undefined where there is none for certain. Throws where nobody can say
   * in time. Absent: a submit without an answer made no job.
   */
  find?(request: BlockRequest): Promise<string | undefined>;
  /** Nodes are named as pilots name themselves: one that is not of its job can be told. */
  readonly namesNodes?: boolean;
}
