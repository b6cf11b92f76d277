/**
 * A process with a store, for tests that kill it, trace it, or break its disk: `child.ts FILE MODE SYNCHRONOUS`.
 * It writes one line for each command after its submit has settled: `ack N` or `E_... N`. Modes: `single` is 60 commands, one
 * after the other; `endless` many at a time; `bulk` enough to need checkpoints, with a query after each (`seen N` or `E_... query`).
 */
import { writeSync } from 'node:fs';
import { errno } from '#base/files.ts';
import { openGroupStore } from '#base/sqlite/group.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { ShelfCommand, ShelfQuery, ShelfResult } from './shelf.ts';

const [file = '', mode = 'single', synchronous = 'full'] = process.argv.slice(2);
const store = await openGroupStore<ShelfCommand, ShelfResult, ShelfQuery, unknown>({
  file,
  module: new URL('./shelf.ts', import.meta.url),
  userVersion: 2,
  synchronous: synchronous === 'off' ? 'off' : 'full',
});
let next = 0;

/** A pipe may be full for a moment; the line is said when the kernel has it. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if (errno(error) !== 'EAGAIN') throw error;
    }
  }
}

const codeOf = (error: unknown): string => FarfieldError.from(error).code;

async function one(bytes = 1024): Promise<void> {
  const n = next++;
  const said = await store
    .submit({ kind: 'put', name: `n${n}`, body: new Uint8Array(bytes) })
    .then(() => 'ack', codeOf);
  say(`${said} ${n}`);
}

async function bulk(): Promise<void> {
  await one(400_000);
  const seen = await store.query({ kind: 'names' }).then(
    (names) => `seen ${(names as string[]).length}`,
    (error: unknown) => `${codeOf(error)} query`,
  );
  say(seen);
}

say('ready');
if (mode === 'endless')
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      for (;;) await one();
    }),
  );
for (let i = 0; i < 60; i++) await (mode === 'bulk' ? bulk() : one());
await store.close();
