/**
 * Text that leaves the site without its secrets.
 *
 * Invariants
 *  R1 Better too much than too little: a value beside a word that says secret goes, whatever it is.
 *  R2 Keys, tokens and invitations are known by their form and go wherever they stand (#base/log.ts); so do passwords in
 *     addresses, private parts of JWKs, and what follows Bearer or Basic.
 */
import { withoutSecrets } from '#base/log.ts';

const REMOVED = '[removed]';
const WORDS =
  'secret|token|passw(?:or)?d|passphrase|pass|pwd|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth(?:orization)?|cookie|session[_-]?key|license[_-]?key';
/** KEY=value, key: value, also inside a text that is JSON, "key": "value", --key value; the value up to its quote, or to the next blank. */
const ASSIGNED = new RegExp(
  `((?:[A-Za-z0-9_.-]*(?:${WORDS})[A-Za-z0-9_.-]*)\\\\*["']?\\s*(?:=|:|\\s)\\s*)(\\\\+"[^"\\n]*?\\\\+"|"(?:[^"\\\\\\n]|\\\\.)*"|'[^'\\n]*'|[^\\s"',}\\]\\\\]+)`,
  'gi',
);
const OPTION_WORD = /^--?[A-Za-z]/;
const ADDRESS = /([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi;
const SCHEME = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}/gi;
/** Of an Ed25519 JWK: 32 bytes. */
const JWK_PRIVATE = /(\\*"d\\*"\s*:\s*\\*")[A-Za-z0-9_-]{20,}(\\*")/g;
const PLAIN_WORD = /^(?:true|false|null|none|\d{1,6}|is|of|and|for|that|was|are|has|\[removed\])$/i;

/** Words of sentences stay: `the token is over` names no token. */
function keepsSentence(key: string, value: string): boolean {
  return /\s$/.test(key) && !/[=:]\s*$/.test(key) && !OPTION_WORD.test(key) && !/\d/.test(value);
}

export function redact(text: string): string {
  return withoutSecrets(text)
    .replace(ADDRESS, `$1${REMOVED}@`)
    .replace(SCHEME, `$1 ${REMOVED}`)
    .replace(JWK_PRIVATE, `$1${REMOVED}$2`)
    .replace(ASSIGNED, (whole: string, key: string, value: string) =>
      PLAIN_WORD.test(value) || keepsSentence(key, value) ? whole : `${key}${REMOVED}`,
    );
}

/** Variables whose values help and hide nothing. */
const OPEN_ENV = new Set([
  'PATH',
  'LANG',
  'LC_ALL',
  'TMPDIR',
  'HOME',
  'TZ',
  'OMP_NUM_THREADS',
  'LD_LIBRARY_PATH',
  'APPTAINER_CACHEDIR',
  'APPTAINER_TMPDIR',
]);

/** A configuration as text: values of `env` go, whatever they are called. */
export function redactConfig(config: unknown): unknown {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) return config;
  const { env, ...rest } = config as Record<string, unknown>;
  if (typeof env !== 'object' || env === null) return config;
  const shown = Object.entries(env).map(([key, value]) => [key, OPEN_ENV.has(key) ? value : REMOVED]);
  return { ...rest, env: Object.fromEntries(shown) };
}
