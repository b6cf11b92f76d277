/**
 * Name patterns of policies and delegations: `*` stands for any characters within one part, `**` across `/`.
 *
 * Compiled to anchored regular expressions without nested repetition, so that no name can make a match slow: a pattern
 * has at most 8 stars, a name at most 128 characters.
 */
import { FarfieldError } from './errors.ts';

const MAX_STARS = 8;

export type Glob = (name: string) => boolean;

/** A matcher for one pattern; throws E_BAD_REQUEST for a pattern with too many stars. */
export function compileGlob(pattern: string): Glob {
  if (!pattern.includes('*')) return (name) => name === pattern;
  const parts = pattern.split(/(\*{1,2})/);
  if (parts.length > 2 * MAX_STARS + 1) {
    throw new FarfieldError('E_BAD_REQUEST', `the pattern ${pattern} has more than ${MAX_STARS} stars`);
  }
  const source = parts.map((part) =>
    part === '**' ? '.*' : part === '*' ? '[^/]*' : part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'),
  );
  const regex = new RegExp(`^${source.join('')}$`, 's');
  return (name) => regex.test(name);
}

/** A matcher for any of several patterns. */
export function compileGlobs(patterns: readonly string[]): Glob {
  const globs = patterns.map(compileGlob);
  const [only] = globs;
  if (globs.length === 1 && only !== undefined) return only;
  return (name) => globs.some((glob) => glob(name));
}
