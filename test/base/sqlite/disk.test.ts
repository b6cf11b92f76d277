/** What is on disk when a command is acknowledged, shown by the order of system calls and by disks that fail. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { synchronousGroup } from '#base/sqlite/group.ts';
import { type Syscall, straceMissing, trace } from '../strace.ts';
import * as shelf from './shelf.ts';

const skip = straceMissing();
const child = new URL('./child.ts', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'farfield-disk-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const isSync = (call: Syscall): boolean => call.name === 'fsync' || call.name === 'fdatasync';

/** For each ack: was the last write to the log before it followed by a sync of the log, and was there one at all? */
function acksAfterSync(calls: readonly Syscall[]): boolean[] {
  const out: boolean[] = [];
  let state: 'nothing' | 'written' | 'synced' = 'nothing';
  for (const call of calls) {
    if (call.file.endsWith('-wal') && call.name === 'pwrite64') state = 'written';
    if (call.file.endsWith('-wal') && isSync(call) && !call.failed && state === 'written') state = 'synced';
    if (call.name === 'write' && call.line.includes('"ack ')) {
      out.push(state === 'synced');
      state = 'nothing';
    }
  }
  return out;
}

async function namesIn(file: string): Promise<string[]> {
  await using store = synchronousGroup({ module: shelf, file });
  return (await store.query({ kind: 'names' })) as string[];
}

const said = (stdout: string): [string, string][] =>
  stdout
    .split('\n')
    .filter((line) => line !== '' && line !== 'ready' && !line.startsWith('seen '))
    .map((line) => line.split(' ') as [string, string]);

t.test('the log is synced between the write of a command and its acknowledgement', { skip }, async (t) => {
  const { calls } = await trace(child, [join(folder, 'order.db'), 'single']);
  t.strictSame(acksAfterSync(calls), new Array(60).fill(true));
});

t.test('the same check notices a store that acknowledges without sync', { skip }, async (t) => {
  const { calls } = await trace(child, [join(folder, 'off.db'), 'single', 'off']);
  t.strictSame(acksAfterSync(calls), new Array(60).fill(false));
});

t.test('the folder of a new store is synced before the first acknowledgement', { skip }, async (t) => {
  const { calls } = await trace(child, [join(folder, 'new.db'), 'single']);
  const firstAck = calls.findIndex((call) => call.line.includes('"ack '));
  t.ok(calls.slice(0, firstAck).some((call) => isSync(call) && call.file === folder));
});

t.test('after a failed sync nothing is acknowledged any more, and what was is there', { skip }, async (t) => {
  const file = join(folder, 'eio.db');
  // Opening takes some syncs of its own; somewhere among the sixty commands the disk begins to fail and never recovers.
  const lines = said((await trace(child, [file, 'single'], 'fsync,fdatasync:error=EIO:when=30+')).stdout);
  const first = lines.findIndex(([word]) => word !== 'ack');
  t.ok(first > 0 && first < 60, `the disk failed at command ${first}`);
  t.strictSame(new Set(lines.slice(first).map(([word]) => word)), new Set(['E_UNAVAILABLE']));
  const names = new Set(await namesIn(file));
  t.strictSame(
    lines.slice(0, first).filter(([, n]) => !names.has(`n${n}`)),
    [],
    'every acknowledged command is there',
  );
});

t.test('a full disk refuses commands while it is full, loses none and takes the next ones', { skip }, async (t) => {
  const file = join(folder, 'enospc.db');
  const lines = said((await trace(child, [file, 'single'], 'pwrite64:error=ENOSPC:when=60..90')).stdout);
  const words = lines.map(([word]) => word);
  t.strictSame(new Set(words), new Set(['ack', 'E_DISK_FULL']));
  t.equal(words.at(-1), 'ack', 'it recovered');
  const acked = lines.filter(([word]) => word === 'ack').map(([, n]) => `n${n}`);
  t.strictSame(await namesIn(file), acked.sort(), 'exactly the acknowledged ones are there');
});

/** A store that exists: opening one that does not writes its main file, which the next two tests let fail. */
async function existing(name: string): Promise<string> {
  const file = join(folder, name);
  await synchronousGroup({ module: shelf, file }).close();
  return file;
}

t.test('no room for the main file stops neither commits nor queries: the log waits', { skip }, async (t) => {
  const file = await existing('main-full.db');
  const { stdout, calls } = await trace(child, [file, 'bulk'], 'pwrite64:error=ENOSPC', file);
  t.ok(
    calls.some((call) => call.name === 'pwrite64' && call.failed),
    'checkpoints were tried',
  );
  t.strictSame(new Set(said(stdout).map(([word]) => word)), new Set(['ack']));
  t.match(stdout, /seen 60\n$/);
  t.equal((await namesIn(file)).length, 60);
});

t.test('a failed sync of the main file ends the store, and what was acknowledged is there', { skip }, async (t) => {
  const file = await existing('main-eio.db');
  const { stdout } = await trace(child, [file, 'bulk'], 'fsync,fdatasync:error=EIO', file);
  const lines = said(stdout);
  const first = lines.findIndex(([word]) => word !== 'ack');
  t.ok(first > 0, `the store ended at line ${first}`);
  t.strictSame(new Set(lines.slice(first).map(([word]) => word)), new Set(['E_UNAVAILABLE']));
  const names = new Set(await namesIn(file));
  t.strictSame(
    lines.slice(0, first).filter(([, n]) => !names.has(`n${n}`)),
    [],
  );
});
