/** A folder for what does not fit into memory; gone with its owner. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';

export interface Scratch extends Disposable {
  readonly path: string;
}

/** `verb` is part of the folder's name. Throws E_FORBIDDEN where none can be made. */
export function openScratch(verb: string): Scratch {
  const path = makeBelow(tmpdir(), verb);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

function makeBelow(folder: string, verb: string): string {
  try {
    return mkdtempSync(join(folder, `farfield-${verb}-`));
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw new FarfieldError(
      'E_FORBIDDEN',
      `no scratch folder can be made in ${folder} (${why}); set TMPDIR to a folder that exists, can be written and has room`,
      { cause },
    );
  }
}
