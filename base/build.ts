/**
 * Which Farfield this is: version, commit, and the schema of what it keeps on disk.
 *
 * A bundle has `build.json` beside it, written by scripts/build.ts; a checkout has package.json, and no commit, since its
 * files may be of any.
 */
import { readFileSync } from 'node:fs';

export interface Build {
  readonly version: string;
  /** Undefined: run from a checkout. */
  readonly commit: string | undefined;
  /** Number of the newest schema that it can read and write; it brings an older one up to it. */
  readonly schema: { readonly ledger: number; readonly broker: number } | undefined;
}

export function readBuild(here: string = import.meta.url): Build {
  if (here.endsWith('.ts')) {
    const described = JSON.parse(readFileSync(new URL('../package.json', here), 'utf8')) as { version: string };
    return { version: described.version, commit: undefined, schema: undefined };
  }
  return parseBuild(readFileSync(new URL('./build.json', here), 'utf8'));
}

export function parseBuild(text: string): Build {
  const { version, commit, schema } = JSON.parse(text) as Build;
  return { version, commit, schema };
}

/** `0.1.0 (1a2b3c4d5e6f)`: what `--version` prints. */
export function buildText({ version, commit }: Build): string {
  return commit === undefined ? `${version} (checkout)` : `${version} (${commit})`;
}
