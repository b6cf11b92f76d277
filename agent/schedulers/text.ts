/**
 * Words for shells and for the lines that schedulers read.
 *
 * Invariants
 *  Q1 No value can hold a line break: Grid Engine and LSF look for directives in the whole script, so a quoted newline would
 *     be one for the shell and a new directive for them.
 *  Q2 A value of a directive needs no quoting anywhere. Schedulers disagree about quotes, escapes and `#` in these lines, so
 *     what would need them is refused, with the reason, before anything is submitted.
 *  Q3 A value of a directive does not begin with a dash: it would be the next option.
 */
import { FarfieldError } from '#kernel/errors.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f\u0085\u2028\u2029]/;
const SAFE = /^[A-Za-z0-9_@%+=:,./-]+$/;
const NAME = /^[A-Za-z0-9_.@+/=,:%][A-Za-z0-9_.@+/=,:%-]*$/;
/** Slurm's constraints, PBS's chunks, LSF's and HTCondor's comparisons. */
const EXPRESSION = /^[A-Za-z0-9_.@+/=,:%[\](!*][A-Za-z0-9_.@+/=,:%[\]()|&*!<>-]*$/;

function refuse(field: string, value: string, why: string): never {
  throw new FarfieldError('E_USAGE', `${field} ${JSON.stringify(value.slice(0, 200))}: ${why}`);
}

/** One argument of a shell command, for sh, bash and the login shell behind ssh alike. */
export function shellWord(value: string): string {
  if (CONTROL.test(value))
    refuse('the argument', value, 'has a line break or control character; no job script takes it');
  return SAFE.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

export function shellWords(values: readonly string[]): string {
  return values.map(shellWord).join(' ');
}

/** A name in a directive: an account, a queue, a path. */
export function directiveWord(field: string, value: string): string {
  if (!NAME.test(value) || CONTROL.test(value))
    refuse(field, value, 'may hold letters, digits and _.@+/=,:%- only, and begins with no dash');
  return value;
}

/** An expression in a directive: a constraint, a chunk. */
export function directiveExpression(field: string, value: string): string {
  if (!EXPRESSION.test(value) || CONTROL.test(value))
    refuse(field, value, 'may hold letters, digits and _.@+/=,:%[]()|&*!<>- only, and begins with no dash');
  return value;
}

/** A line that the site's admin writes for the scheduler. It may say anything, in one line. */
export function freeLine(field: string, line: string): string {
  if (CONTROL.test(line.replaceAll('\t', ' ')) || line.trim() === '')
    refuse(field, line, 'must be one line, not empty and without control characters');
  return line;
}

/** A line of shell that runs before the pilot; a scheduler must not take it for a directive. */
export function setupLine(line: string, directive: RegExp): string {
  freeLine('setup', line);
  if (directive.test(line.trimStart()))
    refuse('setup', line, 'is a directive; it belongs in `lines`, without its prefix');
  return line;
}

/** What is told to the site: never refused, since it is made of other people's names. */
export function comment(parts: Readonly<Record<string, string>>, maxChars = 240): string {
  const text = Object.entries(parts).map(([key, value]) => `${key}=${value.replaceAll(/[^A-Za-z0-9_.@+,-]/g, '_')}`);
  return ['farfield', ...text].join(':').slice(0, maxChars);
}

/** `D-HH:MM:SS`, which Slurm reads and people too. */
export function dayTime(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  return days === 0 ? hourTime(seconds) : `${days}-${hourTime(seconds - days * 86_400)}`;
}

/** `HH:MM:SS`, with hours beyond a day. */
export function hourTime(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** A scheduler's message in one line, short enough for an error that travels. */
export function said(...texts: readonly string[]): string {
  const line = texts
    .join('\n')
    .split('\n')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' | ');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal would act on is left out
  return line.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, ' ').slice(0, 500) || 'it said nothing';
}
