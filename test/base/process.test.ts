import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import {
  type Containment,
  handleOf,
  killTree,
  MARKER_VARIABLE,
  parseStat,
  pidAlive,
  probeContainment,
  startDetached,
  startTree,
  type TreeHandle,
} from '#base/process.ts';
import { systemRandom } from '#base/random.ts';

const linux = process.platform === 'linux' ? {} : { skip: 'trees are found in /proc' };
const folder = mkdtempSync(join(tmpdir(), 'farfield-process-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const allowed = await probeContainment();
t.comment(`this machine allows: ${allowed}`);
const env = { PATH: process.env.PATH ?? '/usr/bin:/bin' };
const clock = systemClock;
let marks = 0;

/** Processes that still carry a word of ours as an argument, whoever their parents are. */
function carriers(word: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word);
      } catch {
        return false;
      }
    });
}

async function until(what: string, done: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (done()) return;
    await clock.sleep(10);
  }
  throw new Error(`waited in vain: ${what}`);
}

/** A shell that starts others in all the ways that lose a parent, each holding a file open as a sign of life. */
async function startBrood(
  containment: Containment,
  lines: readonly string[],
): Promise<{ handle: TreeHandle; word: string }> {
  const word = `brood-${process.pid}-${marks++}`;
  const script = lines.map((line) => line.replaceAll('IDLE', `sh -c 'while :; do sleep 1; done' ${word}`)).join('\n');
  const { handle } = await startTree({
    command: '/bin/sh',
    args: ['-c', script],
    env,
    random: systemRandom,
    containment,
  });
  await until('all children run', () => carriers(word).length === lines.length);
  return { handle, word };
}

const FORMS: Containment[] = [...new Set<Containment>([allowed, 'none'])];

for (const containment of FORMS) {
  t.test(`containment ${containment}`, linux, async (t) => {
    t.test('a tree ends whole: children, sessions of their own, orphans', async (t) => {
      const { handle, word } = await startBrood(containment, ['IDLE &', 'setsid IDLE &', '(setsid IDLE &)', 'IDLE']);
      t.ok(pidAlive(handle));
      t.strictSame(await killTree(handle, { clock }), { left: [] });
      t.strictSame(carriers(word), []);
      t.notOk(pidAlive(handle));
    });

    t.test('a later process that has only the handle ends it just so', async (t) => {
      const { handle, word } = await startBrood(containment, ['(setsid IDLE &)', 'IDLE']);
      const source = (name: string): string => new URL(`../../base/${name}.ts`, import.meta.url).href;
      const script = `const { killTree } = await import('${source('process')}'); const { systemClock: clock } = await import('${source('clock')}');
        console.log(JSON.stringify(await killTree(JSON.parse(process.argv[1]), { clock })));`;
      const later = spawn(process.execPath, ['--input-type=module', '-e', script, JSON.stringify(handle)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [text] = (await once(later.stdout, 'data')) as [Buffer];
      await once(later, 'close');
      t.strictSame(JSON.parse(text.toString()), { left: [] });
      t.strictSame(carriers(word), []);
    });

    t.test('orphans are ended also when the root is gone already', async (t) => {
      if (containment !== 'none') {
        const { handle, word } = await startBrood(containment, ['(setsid IDLE &)', 'IDLE']);
        process.kill(handle.pid, 'SIGKILL');
        await until('the kernel ends the namespace', () => carriers(word).length === 0);
        t.strictSame(await killTree(handle, { clock }), { left: [] });
        return;
      }
      const { handle, word } = await startBrood('none', ['(setsid IDLE &)', 'IDLE']);
      process.kill(handle.pid, 'SIGKILL');
      await until('the root is gone', () => !pidAlive(handle));
      t.equal(carriers(word).length, 2, 'the orphans live on');
      t.strictSame(await killTree(handle, { clock }), { left: [] });
      t.strictSame(carriers(word), []);
    });

    t.test('within the grace time a process may end in its own way', async (t) => {
      const note = join(folder, `note-${containment}`);
      const word = `grace-${process.pid}-${containment}`;
      const script = `trap 'echo bye > ${note}; exit 0' TERM; echo up > ${note}; while :; do sleep 0.05; done`;
      const { handle } = await startTree({
        command: '/bin/sh',
        args: ['-c', script, word],
        env,
        random: systemRandom,
        containment,
      });
      await until('it runs', () => existsSync(note));
      t.strictSame(await killTree(handle, { clock, graceMs: 10_000 }), { left: [] });
      t.equal(readFileSync(note, 'utf8'), 'bye\n');
    });

    t.test('who does not listen is ended after the grace time', async (t) => {
      const word = `deaf-${process.pid}-${containment}`;
      const script = "trap '' TERM; while :; do sleep 0.05; done";
      const { handle } = await startTree({
        command: '/bin/sh',
        args: ['-c', script, word],
        env,
        random: systemRandom,
        containment,
      });
      await until('it runs', () => carriers(word).length > 0);
      t.strictSame(await killTree(handle, { clock, graceMs: 100 }), { left: [] });
      t.strictSame(carriers(word), []);
    });

    t.test('pipes, exit code and environment are those of the command', async (t) => {
      const { child, handle } = await startTree({
        command: '/bin/sh',
        args: ['-c', `read line; echo "$line $A"; env | grep -c . >&2; echo third >&3; exit 7`],
        env: { ...env, A: 'b c' },
        stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
        random: systemRandom,
        containment,
      });
      const collect = (stream: NodeJS.ReadableStream | null | undefined): { text: string } => {
        const out = { text: '' };
        stream?.on('data', (chunk: Buffer) => {
          out.text += chunk.toString();
        });
        return out;
      };
      const [out, third] = [collect(child.stdout), collect(child.stdio[3] as NodeJS.ReadableStream)];
      child.stdin?.end('hello\n');
      t.strictSame(await once(child, 'close'), [7, null]);
      t.strictSame([out.text, third.text], ['hello b c\n', 'third\n']);
      t.strictSame(await killTree(handle, { clock }), { left: [] }, 'ending what has ended is no error');
    });
  });
}

t.test('a contained tree loses not even a child without environment, session and parents', linux, async (t) => {
  if (allowed === 'none') return t.pass('this machine allows no namespaces, and the header says what can escape');
  const { handle, word } = await startBrood(allowed, ['(setsid env -i IDLE &)', 'IDLE']);
  t.strictSame(await killTree(handle, { clock }), { left: [] });
  t.strictSame(carriers(word), []);
});

t.test('without a namespace that child escapes, as the header says', linux, async (t) => {
  const { handle, word } = await startBrood('none', ['(setsid env -i IDLE &)', 'IDLE']);
  t.strictSame(await killTree(handle, { clock }), { left: [] });
  const escaped = carriers(word);
  t.equal(escaped.length, 1, 'this test fails when the header has become too modest');
  for (const pid of escaped) process.kill(pid, 'SIGKILL');
});

t.test('an inner tree is found through its outer one, when what lay between is dead', linux, async (t) => {
  const outer = await startTree({ command: 'sleep', args: ['60'], env, random: systemRandom, containment: 'none' });
  const word = `inner-${process.pid}`;
  const inner = await startTree({
    command: '/bin/sh',
    args: ['-c', 'while :; do sleep 1; done', word],
    env: { ...env, [MARKER_VARIABLE]: outer.handle.marker },
    random: systemRandom,
    containment: 'none',
  });
  await until('it runs', () => carriers(word).length === 1);
  t.strictSame(await killTree(outer.handle, { clock }), { left: [] });
  t.strictSame(carriers(word), []);
  t.notOk(pidAlive(inner.handle));
});

t.test('a reused process id is never signalled', linux, async (t) => {
  const { handle, word } = await startBrood('none', ['IDLE']);
  const stale = { ...handle, startTicks: handle.startTicks - 1, marker: '' };
  t.notOk(pidAlive(stale));
  t.strictSame(await killTree(stale, { clock }), { left: [] });
  t.notOk(pidAlive({ ...handle, bootId: 'another' }), 'another boot');
  t.strictSame(await killTree({ ...handle, bootId: 'another' }, { clock }), { left: [] });
  t.equal(carriers(word).length, 1, 'it still runs');
  await killTree(handle, { clock });
});

t.test('a detached tree outlives its starter and writes to its log', linux, async (t) => {
  const logFile = join(folder, 'detached.log');
  const source = (name: string): string => new URL(`../../base/${name}.ts`, import.meta.url).href;
  const script = `const { startDetached } = await import('${source('process')}'); const { systemRandom: random } = await import('${source('random')}');
    const handle = await startDetached({ command: '/bin/sh', args: ['-c', 'sleep 0.3; echo written later; exec sleep 60'], env: { PATH: process.env.PATH },
      random, containment: '${allowed}', logFile: '${logFile}' });
    console.log(JSON.stringify(handle));`;
  const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [text] = (await once(starter.stdout, 'data')) as [Buffer];
  await once(starter, 'close');
  const handle = JSON.parse(text.toString()) as TreeHandle;
  t.ok(pidAlive(handle));
  await until('the line is written', () => readFileSync(logFile, 'utf8') === 'written later\n');
  t.strictSame(await killTree(handle, { clock }), { left: [] });
  t.notOk(pidAlive(handle));
});

t.test('a command that does not exist is an error that says so', async (t) => {
  const start = { command: '/no/such/command', env, random: systemRandom, containment: 'none' } as const;
  await t.rejects(startTree(start), { code: 'E_NOT_FOUND', message: /\/no\/such\/command/ });
  await t.rejects(startDetached({ ...start, logFile: join(folder, 'x.log') }), { code: 'E_NOT_FOUND' });
});

t.test("this process and its parents are nobody's tree to kill", linux, async (t) => {
  // As in a test run that was itself started inside a tree: the marker is inherited by all.
  const script = `const { killTree, handleOf } = await import('${new URL('../../base/process.ts', import.meta.url).href}');
    const { systemClock: clock } = await import('${new URL('../../base/clock.ts', import.meta.url).href}');
    const handle = { ...handleOf(process.pid), marker: process.env.${MARKER_VARIABLE} };
    console.log(JSON.stringify(await killTree(handle, { clock, confirmMs: 100 })));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...env, [MARKER_VARIABLE]: 'ours' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [text] = (await once(child.stdout, 'data')) as [Buffer];
  t.strictSame(await once(child, 'close'), [0, null]);
  t.strictSame(JSON.parse(text.toString()), { left: [] });
});

t.test('a name full of brackets and spaces does not shift the fields', async (t) => {
  const tail = `S 1 2 3${' 0'.repeat(15)} 777 8 9`;
  t.match(parseStat(42, `42 (a) R 9 (b c) ${tail}`), { pid: 42, state: 'S', parent: 1, session: 3, startTicks: 777 });
  t.equal(parseStat(42, ''), undefined);
});

t.test('a handle can be made for what something else started', linux, async (t) => {
  const handle = handleOf(process.pid);
  t.match(handle, { pid: process.pid, contained: false, marker: '' });
  t.ok(handle !== undefined && pidAlive(handle));
  t.equal(handleOf(2 ** 22 + 1), undefined);
});
