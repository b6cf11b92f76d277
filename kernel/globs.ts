/**
 * Name patterns of policies and delegations: `*` stands for any characters within one part, `**` across `/`.
 *
 * Delegations come from strangers, and their patterns are tried before anybody is trusted. So a match is a walk over all
 * places of the pattern at once: (length of name) x (length of pattern) steps at worst. Rejected: regular expressions,
 * where eight stars let a name of 128 characters backtrack for hours.
 */

export type Glob = (name: string) => boolean;

const STAR = -1;
const STARS = -2;
const SLASH = 0x2f;

/** A matcher for one pattern. */
export function compileGlob(pattern: string): Glob {
  const first = pattern.indexOf('*');
  if (first < 0) return (name) => name === pattern;
  // Most names of other functions differ in the literal beginning, where startsWith is all that runs.
  const prefix = pattern.slice(0, first);
  const rest = tokensOf(pattern.slice(first));
  return (name) => name.startsWith(prefix) && matches(rest, name, prefix.length);
}

/** A matcher for any of several patterns. */
export function compileGlobs(patterns: readonly string[]): Glob {
  const globs = patterns.map(compileGlob);
  const [only] = globs;
  if (globs.length === 1 && only !== undefined) return only;
  return (name) => globs.some((glob) => glob(name));
}

function tokensOf(pattern: string): readonly number[] {
  const tokens: number[] = [];
  for (let k = 0; k < pattern.length; k += 1) {
    if (pattern[k] !== '*') tokens.push(pattern.charCodeAt(k));
    else if (pattern[k + 1] !== '*') tokens.push(STAR);
    else {
      tokens.push(STARS);
      k += 1;
    }
  }
  return tokens;
}

/** Which places of the pattern are reached, before and after one character. Two buffers for all: matching is synchronous. */
let before = new Uint8Array(512);
let after = new Uint8Array(512);

/** Whether the tokens take the whole of `name` from `start` on. Place k: the tokens before k have taken what was read. */
function matches(tokens: readonly number[], name: string, start: number): boolean {
  const n = tokens.length;
  if (n === 1) return tokens[0] === STARS || !name.includes('/', start);
  if (n >= before.length) [before, after] = [new Uint8Array(n + 1), new Uint8Array(n + 1)];
  before.fill(0, 0, n + 1);
  before[0] = 1;
  skipStars(tokens, before);
  for (let i = start; i < name.length; i += 1) {
    const c = name.charCodeAt(i);
    let alive = false;
    after.fill(0, 0, n + 1);
    for (let k = 0; k < n; k += 1) {
      if (before[k] === 0) continue;
      const token = tokens[k];
      if (token === c) after[k + 1] = 1;
      else if (token === STARS || (token === STAR && c !== SLASH)) after[k] = 1;
      else continue;
      alive = true;
    }
    if (!alive) return false;
    skipStars(tokens, after);
    [before, after] = [after, before];
  }
  return before[n] === 1;
}

/** A star may stand for nothing: whatever is before one is also behind it. */
function skipStars(tokens: readonly number[], places: Uint8Array): void {
  for (let k = 0; k < tokens.length; k += 1) if (places[k] === 1 && (tokens[k] ?? 0) < 0) places[k + 1] = 1;
}
