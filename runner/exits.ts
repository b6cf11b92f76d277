/**
 * Exit codes of `farfield-runner`; `describe` prints them, docs/runner.md explains them, a test compares the two.
 *
 * A code is never reused: job scripts branch on it. Codes from 6 on say whose move it is, so that a script can tell "run it
 * again" (stopped, busy, output) from "mend something first" (input, conflict, incomplete).
 */
import type { ErrorCode } from '#kernel/errors.ts';

export const EXIT = {
  ok: 0,
  /** A defect: the stack is on stderr. */
  defect: 1,
  usage: 2,
  /** The other side of the pipe broke the protocol. */
  protocol: 3,
  /** The model or function cannot be served; the `failed` frame, or the JSON on stdout, says why. */
  load: 4,
  /** The pilot went away while it was written to. */
  pipe: 5,
  /** The rows cannot be taken: missing, damaged, of another shape, type or number. */
  input: 6,
  /** The output folder holds what this job may not replace, or shards that do not belong together. */
  conflict: 7,
  /** Another runner has this shard. */
  busy: 8,
  /** The output cannot be written: not allowed, or no room. */
  output: 9,
  /** Asked to end before the shard or the merge was finished; what was there is as it was. */
  stopped: 10,
  /** Shards are missing, unfinished or damaged: nothing was merged. */
  incomplete: 11,
} as const;

export type ExitName = keyof typeof EXIT;

export const EXIT_MEANINGS: Readonly<Record<ExitName, string>> = {
  ok: 'done',
  defect: 'a defect in the runner',
  usage: 'a command or option that does not exist or does not fit',
  protocol: 'a frame that the protocol does not allow',
  load: 'a model or function that cannot be served here',
  pipe: 'the reader of the pipe went away',
  input: 'rows or labels that cannot be taken',
  conflict: 'the output folder holds results of another job',
  busy: 'another runner has this shard',
  output: 'the output cannot be written, or there is no room',
  stopped: 'asked to end before it was finished; what was there is as it was',
  incomplete: 'shards are missing, unfinished or damaged; nothing was merged',
};

/** A job array's script decides by these what is worth another try. */
export function exitOf(code: ErrorCode): number {
  switch (code) {
    case 'E_USAGE':
      return EXIT.usage;
    case 'E_INPUT':
    case 'E_HDF5':
    case 'E_NOT_FOUND':
    case 'E_TOO_LARGE':
      return EXIT.input;
    case 'E_FORBIDDEN':
    case 'E_DISK_FULL':
      return EXIT.output;
    case 'E_BUSY':
      return EXIT.busy;
    case 'E_CANCELLED':
      return EXIT.stopped;
    case 'E_CONFLICT':
      return EXIT.conflict;
    case 'E_INCOMPLETE':
      return EXIT.incomplete;
    default:
      return EXIT.load;
  }
}
