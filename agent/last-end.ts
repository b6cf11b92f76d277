/**
 * Why the last life of an agent ended by itself: what `farfield endpoint status` says where nothing runs any more, so that
 * nobody has to find the line in the log, or starts again what would end in the same way.
 */
import { readFileSync, rmSync } from 'node:fs';
import { type Static, Type as T } from 'typebox';
import { writeDurableSync } from '#base/files.ts';
import { check } from '#kernel/schema.ts';
import type { AgentFolder } from './identity/folder.ts';

const LastEnd = T.Object(
  { v: T.Literal(1), code: T.String(), reason: T.String(), at: T.Number() },
  { additionalProperties: false },
);
export type LastEnd = Static<typeof LastEnd>;

export function noteEnd(
  folder: AgentFolder,
  end: { readonly code: string; readonly reason: string },
  nowS: number,
): void {
  writeDurableSync(folder.lastEnd, `${JSON.stringify({ v: 1, code: end.code, reason: end.reason, at: nowS })}\n`);
}

/** A new life begins: what ended the last one is history. */
export function forgetEnd(folder: AgentFolder): void {
  rmSync(folder.lastEnd, { force: true });
}

/** Undefined where the last life ended as it was asked to, or left a note that this version cannot read. */
export function readEnd(folder: AgentFolder): LastEnd | undefined {
  try {
    const found = check(LastEnd, JSON.parse(readFileSync(folder.lastEnd, 'utf8')));
    return found.ok ? found.value : undefined;
  } catch {
    return undefined;
  }
}
