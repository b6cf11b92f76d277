/**
 * What `check` and `doctor` find: each finding has a code that does not change, a sentence, and what to do.
 *
 * A finding that fails makes the verb end with exit code 1; a warning does not, so that a script can tell "will not work" from
 * "look at it this week".
 */
import type { Command } from 'commander';
import { type CliContext, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { isJson } from './show.ts';

export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly code: string;
  readonly level: Level;
  /** What was seen, in one sentence. */
  readonly what: string;
  /** What to do; there for everything that is not ok. */
  readonly remedy?: string;
}

export const ok = (code: string, what: string): Finding => ({ code, level: 'ok', what });
export const warn = (code: string, what: string, remedy: string): Finding => ({ code, level: 'warn', what, remedy });
export const fail = (code: string, what: string, remedy: string): Finding => ({ code, level: 'fail', what, remedy });

/** A check that throws has failed with its own words: errors here already say what to do. */
export async function attempt(code: string, look: () => Promise<Finding[]> | Finding[]): Promise<Finding[]> {
  try {
    return await look();
  } catch (reason) {
    const error = FarfieldError.from(reason);
    return [fail(code, error.message, 'mend what it says, then check again')];
  }
}

const MARK: Readonly<Record<Level, string>> = { ok: 'ok  ', warn: 'WARN', fail: 'FAIL' };

export function countOf(findings: readonly Finding[], level: Level): number {
  return findings.filter((finding) => finding.level === level).length;
}

/** Prints them; throws for exit code 1 where something failed. */
export function report(
  context: CliContext,
  command: Command,
  facts: object,
  findings: readonly Finding[],
  what: string,
): void {
  const failed = countOf(findings, 'fail');
  const warned = countOf(findings, 'warn');
  if (isJson(command)) writeJson(context.stdout, { ...facts, ok: failed === 0, findings });
  else {
    for (const { code, level, what: said, remedy } of findings) {
      writeLine(context.stdout, `${MARK[level]}  ${code.padEnd(18)} ${plain(said)}`);
      if (remedy !== undefined && level !== 'ok')
        writeLine(context.stdout, `      ${' '.repeat(18)} -> ${plain(remedy)}`);
    }
    writeLine(context.stdout, `${findings.length - failed - warned} ok, ${warned} to look at, ${failed} failed`);
  }
  if (failed > 0) throw new FarfieldError('E_CONFLICT', `${what}: ${failed} failed; each says what to do`);
}
