/**
 * Logs: objects with a constant message, one JSON line each.
 *
 * Invariants
 *  L1 A field whose name says secret is never written, at the top or one level down; a private key, an
 *     enrolment token or a compact JWS inside any text field is cut out. The rule for authors stays: secrets
 *     are functions and are not logged.
 *  L2 Text from elsewhere reaches a terminal only through `plain` (plain.ts).
 */
import { type DestinationStream, destination, type Logger, pino } from 'pino';
import { FarfieldError } from '#kernel/errors.ts';

export type { Logger } from 'pino';
export { plain, plainLine } from './plain.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface LoggerOptions {
  /** The process and part, for example `broker`. */
  readonly name: string;
  readonly level?: LogLevel;
  /** A descriptor (2 is the default) or a file, which is appended to and made 0600. */
  readonly fd?: number;
  readonly file?: string;
  /** Instead of both, for tests. */
  readonly stream?: DestinationStream;
}

const OPTION_KEYS = ['name', 'level', 'fd', 'file', 'stream'];
const SECRET_KEYS = [
  'secret',
  'token',
  'password',
  'passphrase',
  'privateKey',
  'authorization',
  'cookie',
  'ticket',
  'delegation',
];
const REMOVED = '[removed]';
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g;
const ENROLMENT_TOKEN = /\bff1\.[A-Za-z0-9_-]{16,}/g;
const COMPACT_JWS = /\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{20,}/g;

/** The text without keys and tokens. */
export function withoutSecrets(text: string): string {
  // Nearly every text is short and has none of the three marks: three searches are cheaper than three replacements.
  if (!text.includes('-----BEGIN') && !text.includes('ff1.') && !text.includes('eyJ')) return text;
  return text.replace(PRIVATE_KEY, REMOVED).replace(ENROLMENT_TOKEN, REMOVED).replace(COMPACT_JWS, REMOVED);
}

function cleanedFields(fields: Record<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(fields))
    out[key] = typeof value === 'string' ? withoutSecrets(value) : value;
  return out;
}

/** Longer chains of causes are a loop, or nobody's help. */
const MAX_CAUSES = 5;

/** Errors with their code and chain of causes: logs stay on this side of every boundary (E3 of kernel/errors.ts). */
function serializeError(reason: unknown, depth = 0): unknown {
  if (!(reason instanceof Error)) return typeof reason === 'string' ? withoutSecrets(reason) : reason;
  const { name, message, stack, cause } = reason;
  return {
    type: name,
    ...('code' in reason ? { code: reason.code } : {}),
    message: withoutSecrets(message),
    stack: withoutSecrets(stack ?? ''),
    ...(cause === undefined || depth >= MAX_CAUSES ? {} : { cause: serializeError(cause, depth + 1) }),
  };
}

export function createLogger(options: LoggerOptions): Logger {
  for (const key of Object.keys(options)) {
    if (!OPTION_KEYS.includes(key)) throw new FarfieldError('E_BAD_REQUEST', `a logger has no option "${key}"`);
  }
  const { name, level = 'info', fd = 2, file, stream } = options;
  // A daemon's log is written asynchronously, so that a slow disk holds up no call; pino flushes it at exit. A
  // descriptor is a terminal or a pipe to systemd: in order with what the process prints itself.
  const target =
    stream ??
    (file === undefined
      ? destination({ dest: fd, sync: true })
      : destination({ dest: file, mode: 0o600, sync: false }));
  return pino(
    {
      name,
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: SECRET_KEYS.flatMap((key) => [key, `*.${key}`]), censor: REMOVED },
      serializers: { err: (reason) => serializeError(reason), error: (reason) => serializeError(reason) },
      formatters: {
        level: (label) => ({ level: label }),
        log: cleanedFields,
        bindings: ({ pid, name: part }) => ({ name: part, pid }),
      },
    },
    target,
  );
}
