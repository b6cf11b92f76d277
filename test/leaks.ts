/**
 * `import '../leaks.ts'` in a test file: the file fails if it leaves anything behind.
 *
 * 1. Left behind is what was not there when this file was imported: child processes of any generation (found by a mark in
 *    their environment, so a detached one in its own session too), open sockets and files, and whatever keeps the process
 *    alive (servers, timers, threads).
 * 2. Closing takes turns of the event loop, so what is left is asked again for a while, and only the last answer counts.
 *    Nothing else depends on time.
 * 3. Imports run before the file's own code and tap runs tear-downs in reverse, so the check comes after all of them.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';

const MARK = 'FARFIELD_TEST_MARK';
const SETTLE_MS = 3000;
const LOOK_MS = 20;
const REPORT_MS = 500;

/** Counts by description. */
export type Tally = ReadonlyMap<string, number>;

function tally(names: Iterable<string>): Tally {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/** Reads that fail mean that it went away meanwhile: that is no leak. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Both ends and the state of each TCP socket of this process, by inode: the words of a report, not of a comparison. */
function tcpSockets(): string[] {
  const STATES = ['', 'established', 'syn-sent', 'syn-received', 'fin-wait-1', 'fin-wait-2', 'time-wait', 'closed'];
  const states = [...STATES, 'close-wait', 'last-ack', 'listening', 'closing'];
  const mine = new Set(
    readdirSync('/proc/self/fd').map(
      (fd) => attempt(() => readlinkSync(`/proc/self/fd/${fd}`))?.match(/socket:\[(\d+)/)?.[1],
    ),
  );
  return ['tcp', 'tcp6'].flatMap((family) =>
    (attempt(() => readFileSync(`/proc/self/net/${family}`, 'utf8')) ?? '')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[9] !== undefined && mine.has(fields[9]))
      .map(([, from = '', to = '', state = '']) => {
        const port = (end: string) => Number.parseInt(end.split(':')[1] ?? '', 16);
        return `tcp ${port(from)} to ${port(to)}, ${states[Number.parseInt(state, 16)]}`;
      }),
  );
}

/** Sockets by what they are, files by their path. Pipes and event files belong to Node's own threads and come and go. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => attempt(() => readlinkSync(`/proc/self/fd/${fd}`)) ?? '')
    .filter((to) => to.startsWith('socket:') || (to.startsWith('/') && !/^\/(?:dev|proc|sys)\//.test(to)))
    .map((to) => (to.startsWith('socket:') ? 'an open socket' : `the open file ${to}`));
}

interface Descendant {
  readonly pid: number;
  readonly command: string;
}

/** Living processes that inherited the mark or have this one as their parent; a zombie has ended. */
function descendants(mark: string): Descendant[] {
  if (!existsSync('/proc/self/stat')) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      // The name in brackets may hold anything; the fields after it may not.
      const fields = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
        ?.split(') ')
        .at(-1)
        ?.split(' ');
      if (fields === undefined || fields[0] === 'Z') return [];
      const marked =
        attempt(() => readFileSync(`/proc/${pid}/environ`, 'latin1'))?.includes(`${MARK}=${mark}`) === true;
      if (!marked && Number(fields[1]) !== process.pid) return [];
      const command =
        attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
          ?.split('\0')
          .join(' ')
          .trim() ?? '';
      return [{ pid: Number(pid), command }];
    });
}

/** Everything that is open now. */
export function openNow(mark: string): Tally {
  const alive = process.getActiveResourcesInfo().map((kind) => `an active ${kind}`);
  // Elsewhere than on Linux only what Node itself knows.
  const files = existsSync('/proc/self/fd') ? openFiles() : [];
  return tally([...alive, ...files, ...descendants(mark).map(({ pid, command }) => `the process ${pid} (${command})`)]);
}

/** What there is more of now than before. */
export function leaked(before: Tally, now: Tally): string[] {
  return [...now].flatMap(([name, count]) => {
    const more = count - (before.get(name) ?? 0);
    return more > 0 ? [more > 1 ? `${name} (${more} times)` : name] : [];
  });
}

/** What is still leaked when it has had time to close. */
export async function leakedAtLast(before: Tally, mark: string, settleMs = SETTLE_MS): Promise<string[]> {
  let left = leaked(before, openNow(mark));
  for (let waited = 0; left.length > 0 && waited < settleMs; waited += LOOK_MS) {
    await sleep(LOOK_MS);
    left = leaked(before, openNow(mark));
  }
  return left;
}

/** Children inherit it unless a test gives them an environment of its own; then only direct ones are seen. */
export const mark: string = randomUUID();
process.env[MARK] = mark;
const before = openNow(mark);
t.teardown(async () => {
  const left = await leakedAtLast(before, mark);
  if (left.length === 0) return;
  // They would hold this process's output open, and the run would wait for it until its time is over.
  for (const { pid } of descendants(mark)) attempt(() => process.kill(pid, 'SIGKILL'));
  // Unreferenced: it fires only if something else keeps the process alive after the failure has been reported.
  setTimeout(() => process.exit(1), REPORT_MS).unref();
  const sockets = left.some((name) => name.includes('socket')) ? ` (open now: ${tcpSockets().join('; ')})` : '';
  throw new Error(`the test file leaves behind: ${left.join(', ')}${sockets}`);
});
