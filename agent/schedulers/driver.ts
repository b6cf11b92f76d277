/**
 * What a batch scheduler is to us: pure functions from what we want to the command that says it, and from what was printed to
 * what it means. Nothing here runs anything; command.ts does, and batch.ts makes a Scheduler of it.
 *
 * Invariants
 *  D1 The same job gives the same files and the same argv: `render` shows exactly what would be submitted.
 *  D2 No shell between us and a scheduler's command: argv and stdin only.
 *  D3 A reader never throws for what a scheduler prints. What it cannot read is a `failed` listing or an `unclear` reply with
 *     the text, and a state that is not in its table is `unknown` with the word.
 *  D4 One `live` command answers for any number of jobs; only jobs that it does not list are asked for further on.
 */
import type { SchedulerOptions } from './options.ts';
import type { ListedState } from './scheduler.ts';
import { said } from './text.ts';

export interface SchedulerCommand {
  readonly argv: readonly [string, ...string[]];
  readonly stdin?: string;
  /** Beside the clean environment that every command gets. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A command that ended by itself. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One block's job, complete: a driver reads nothing else. */
export interface JobSpec {
  /** Unique, and the scheduler's name of the job: what a lost reply is found by. */
  readonly name: string;
  readonly comment: string;
  /** Absolute: the job's working folder. */
  readonly folder: string;
  /** Absolute: what the job prints. */
  readonly log: string;
  readonly nodes: number;
  readonly wallS: number;
  /** Absolute path of the pilot program and its arguments. */
  readonly pilot: readonly [string, ...string[]];
  /** Nodes that are not to be used; only for a driver with `freeNodes`. */
  readonly avoid?: readonly string[];
  readonly options: SchedulerOptions;
}

export interface JobFile {
  readonly name: string;
  readonly text: string;
  /** Some schedulers run the file itself. */
  readonly executable: boolean;
}

export interface Rendered {
  /** The first one is what is submitted. */
  readonly files: readonly [JobFile, ...JobFile[]];
}

export type SubmitReply =
  | { readonly kind: 'submitted'; readonly id: string }
  | { readonly kind: 'refused'; readonly why: string }
  /** There may be a job: it must be looked for by its name. */
  | { readonly kind: 'unclear'; readonly why: string };

export interface SeenJob {
  readonly id: string;
  readonly name?: string;
  readonly state: ListedState;
  /** Times that the scheduler started it again under the same id, where it says so. */
  readonly restarts?: number;
  /** How long it ran, where it says so: an exit by signal at the walltime is the walltime's. */
  readonly ranS?: number;
  /** Its time limit as it is now. */
  readonly limitS?: number;
}

export type Listing =
  | { readonly kind: 'listed'; readonly jobs: readonly SeenJob[] }
  | { readonly kind: 'failed'; readonly why: string };

export interface Source {
  readonly label: string;
  /** Ids that one command may ask for. */
  readonly batch: number;
  command(ids: readonly string[]): SchedulerCommand;
  read(output: Output, ids: readonly string[]): Listing;
}

export interface Finder {
  command(name: string): SchedulerCommand;
  read(output: Output): Listing;
}

export interface Driver {
  readonly name: string;
  /** Its listings name nodes as a pilot on them names itself (SLURMD_NODENAME). */
  readonly namesNodes?: boolean;
  /** A source after the live one says who cancelled a job. */
  readonly namesCancellers?: boolean;
  /** Variables of the agent's environment that the scheduler's commands need to find their server. */
  readonly passEnv: readonly string[];
  render(spec: JobSpec): Rendered;
  submit(file: JobFile, path: string, spec: JobSpec): SchedulerCommand;
  readSubmit(output: Output): SubmitReply;
  /** Nodes that could take this job at once, so that leaving some out delays nothing; undefined where that is not known. */
  readonly freeNodes?: {
    command(spec: JobSpec): SchedulerCommand;
    read(output: Output, spec: JobSpec): readonly string[] | undefined;
  };
  /** Live first; each next one is asked only for what the former did not know. */
  readonly sources: readonly [Source, ...Source[]];
  /** How long jobs ran (`ranS`), over or not; where no source says so. */
  readonly accounting?: Source;
  /** Jobs of a name, live and ended. All must answer before it is known that there is none. */
  readonly finders: readonly [Finder, ...Finder[]];
  cancel(ids: readonly string[]): SchedulerCommand;
  /** Why it did not work; undefined where it did, or where the job was over already. */
  readCancel(output: Output): string | undefined;
  /** Learns the version from what `probe` printed; other commands may then differ. */
  readonly probe?: SchedulerCommand;
  withVersion?(output: Output): Driver;
}

/** A server that is away or overloaded: a submit may have been taken all the same. */
const TROUBLE =
  /timed? ?out|connect|communicat|socket|unreachable|not respond|try again|temporar|broken pipe|end of file|protocol|no route|unable to contact|server is (down|busy)|EOF/i;

/** What a submit that printed no id means. A wrong `unclear` costs a look-up; a wrong `refused` would cost a second job. */
export function withoutId({ code, stdout, stderr }: Output): SubmitReply {
  const why = said(stderr, stdout);
  if (code === 0 || TROUBLE.test(why)) return { kind: 'unclear', why };
  return { kind: 'refused', why };
}

export function failedListing(output: Output): Listing {
  return { kind: 'failed', why: `exit ${output.code}: ${said(output.stderr, output.stdout)}` };
}

/** JSON of a command, where it is an object or array. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export type Json = Readonly<Record<string, unknown>>;

export function asObject(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

export function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function asText(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '';
}

export function asNumber(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  return typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : undefined;
}
