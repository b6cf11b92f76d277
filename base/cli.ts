/**
 * What every verb of the command line is given, and how it ends.
 *
 * Invariants
 *  X1 Verbs write to `stdout` only what was asked for (with --json: one JSON document or JSON lines); everything else goes to `stderr`.
 *  X2 Text from elsewhere passes `plain()` before it reaches a terminal.
 *  X3 A verb fails by throwing a FarfieldError; main turns its code into the exit code below.
 */
import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import type { Clock } from './clock.ts';
import { plain } from './plain.ts';
import type { Random } from './random.ts';

export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly cwd: string;
  /** The user's folder: FARFIELD_HOME, or ~/.config/farfield. */
  readonly home: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Aborted by SIGINT and SIGTERM: a verb that waits then detaches. */
  readonly signal: AbortSignal;
  /** The command line that starts this program again, for verbs that detach a process. */
  readonly self: readonly string[];
}

/**
 * How Node is started for a broker, an agent or a pilot. Invocations live for some 100 ms, longer than the default young
 * generation lasts under load: with more room the collector copies less (15-20 % of all CPU at full load).
 * One helper thread of V8 instead of four: with all cores busy, collectors of four processes that wait for their helpers
 * cost 15 % of the throughput, and every thread keeps memory of its own. `gc` is for memory.ts.
 */
export const SERVER_FLAGS: readonly string[] = ['--max-semi-space-size=64', '--v8-pool-size=1', '--expose-gc'];

/** A folder of verbs exports this from each verb file. */
export type RegisterVerb = (program: Command, context: CliContext) => void;

/** Exit codes, documented in `farfield --help`. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unauthorised: 3,
  notFound: 4,
  refused: 5,
  unavailable: 6,
  badInput: 7,
  unresolved: 8,
  defect: 70,
} as const;

const EXIT_OF: Partial<Record<ErrorCode, number>> = {
  E_INTERNAL: EXIT.defect,
  E_USAGE: EXIT.usage,
  E_BAD_REQUEST: EXIT.usage,
  E_NOT_FOUND: EXIT.notFound,
  E_ENDPOINT_UNKNOWN: EXIT.notFound,
  E_UNAUTHENTICATED: EXIT.unauthorised,
  E_FORBIDDEN: EXIT.unauthorised,
  E_CHAIN: EXIT.unauthorised,
  E_CHAIN_EXPIRED: EXIT.unauthorised,
  E_ENROLMENT: EXIT.unauthorised,
  E_UNTRUSTED: EXIT.refused,
  E_POLICY: EXIT.refused,
  E_CEILING: EXIT.refused,
  E_PATH: EXIT.refused,
  E_REVOKED: EXIT.refused,
  E_LIFE: EXIT.refused,
  E_CHAIN_SCOPE: EXIT.refused,
  E_UNAVAILABLE: EXIT.unavailable,
  E_ENDPOINT_OFFLINE: EXIT.unavailable,
  E_BUSY: EXIT.unavailable,
  E_TIMEOUT: EXIT.unavailable,
  E_INPUT: EXIT.badInput,
  E_HDF5: EXIT.badInput,
  E_MODEL: EXIT.badInput,
  E_TOO_LARGE: EXIT.badInput,
  E_DIGEST: EXIT.badInput,
  E_UNRESOLVED: EXIT.unresolved,
};

/** An invitation with its certificate has about 2 KiB. */
const MAX_TOKEN_CHARS = 64 * 1024;

export function exitCodeOf(error: FarfieldError): number {
  return EXIT_OF[error.code] ?? EXIT.failed;
}

export function writeLine(stream: Writable, line: string): void {
  stream.write(`${line}\n`);
}

export function writeJson(stream: Writable, value: unknown): void {
  stream.write(`${JSON.stringify(value)}\n`);
}

/** The last line of a failed verb: for people on stderr, or as JSON on stdout. */
export function reportError(context: CliContext, error: FarfieldError, json: boolean): void {
  if (json) {
    writeJson(context.stdout, { error: { code: error.code, message: error.message, details: error.details } });
    return;
  }
  writeLine(context.stderr, `farfield: ${plain(error.message)} [${error.code}]`);
  if (error.code === 'E_INTERNAL') {
    const { cause } = error;
    writeLine(
      context.stderr,
      cause instanceof Error && cause.stack !== undefined ? plain(cause.stack) : 'This is a defect; please report it.',
    );
  }
}

/** A required option or argument that is malformed. */
/** A one-use token: as given, or from stdin where it is `-`, since arguments are seen by everybody on a machine. */
export async function readToken(context: CliContext, given: string): Promise<string> {
  if (given !== '-') return given;
  let text = '';
  for await (const chunk of context.stdin) {
    text += String(chunk);
    if (text.length > MAX_TOKEN_CHARS) throw usage('what came on stdin is too long for a token');
  }
  return text.trim();
}

export function usage(message: string): FarfieldError {
  return new FarfieldError('E_USAGE', message);
}
