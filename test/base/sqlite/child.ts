/**
 * A process with a store, for tests that kill it, trace it, or break its disk: `child.ts FILE MODE SYNCHRONOUS`.
 * It writes one line for each command after its submit has settled: `ack N` or `E_... N`.
 */
import { writeSync } from 'node:fs';
import { errno } from '#base/files.ts';
import { openGroupStore } from '#base/sqlite/group.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { ShelfCommand, ShelfResult } from './shelf.ts';

const [file = '', mode = 'single', synchronous = 'full'] = process.argv.slice(2);
const store = await openGroupStore<ShelfCommand, ShelfResult>({
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

async function one(): Promise<void> {
  const n = next++;
  const said = await store
    .submit({ kind: 'put', name: `n${n}`, body: new Uint8Array(1024) })
    .then(() => 'ack')
    .catch((error: unknown) => FarfieldError.from(error).code);
  say(`${said} ${n}`);
}

say('ready');
if (mode === 'endless')
  await Promise.all(
    Array.from({ length: 64 }, async () => {
      for (;;) await one();
    }),
  );
for (let i = 0; i < 60; i++) await one();
await store.close();
