/**
 * The order of fsync and acknowledgement on every ack path of real processes: what a kill cannot show, because the page
 * cache survives it.
 *
 * One invocation is in flight at a time, so that the calls of one process, in the order in which the kernel saw them, tell
 * which answer belongs to which request. Bytes are encrypted; what counts is the connection, the direction and the size.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { openHome } from '../../client/ts/home.ts';
import { parseSyscalls, type Syscall, straceMissing } from '../base/strace.ts';
import { startWorld } from '../e2e/world.ts';

const CALLS = 'trace=fsync,fdatasync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,rename,renameat,renameat2';
const ROUNDS = 3;
/** Larger than any heartbeat or acknowledgement (10 to 150 bytes), smaller than a ticket, a pack or a pilot's outcome (390). */
const SIGNED_BYTES = 250;

interface Tracer {
  /** Calls since the last time, once the tracer is quiet. */
  take(): Promise<Syscall[]>;
  stop(): Promise<void>;
}

/** Attaches to a running process with all its threads; throws where that is forbidden. */
async function attach(pid: number, log: string): Promise<Tracer> {
  const child: ChildProcess = spawn('strace', ['-f', '-yy', '-s', '0', '-o', log, '-e', CALLS, '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (/attached/.test(said)) resolve();
    });
    child.once('exit', () => reject(new Error(said.trim())));
  });
  let from = 0;
  return {
    async take() {
      let text = '';
      // What is in flight settles: two looks that see the same end.
      for (let before = -1; before !== text.length; ) {
        before = text.length;
        await sleep(300);
        text = readFileSync(log, 'utf8');
      }
      const calls = parseSyscalls(text.slice(from)).map(named);
      from = text.length;
      return calls;
    },
    async stop() {
      child.kill('SIGINT');
      await gone;
    },
  };
}

/** The name of a connection holds an arrow, at which the reader of files stops. */
function named(call: Syscall): Syscall {
  const connection = /^\w+\(\d+<((?:TCP|TCPv6|UNIX|UNIX-STREAM):\[[^\]]*(?:\]:\d+[^\]]*)?\])>/.exec(call.line)?.[1];
  return connection === undefined ? call : { ...call, file: connection };
}

const moved = ({ line }: Syscall): number => Number(/ = (\d+)$/.exec(line)?.[1] ?? 0);
const isSync = ({ name, failed }: Syscall): boolean => (name === 'fsync' || name === 'fdatasync') && !failed;
const isIn = ({ name }: Syscall): boolean => /^(read|readv|recvfrom|recvmsg)$/.test(name);
const isOut = ({ name }: Syscall): boolean => /^(write|writev|sendto|sendmsg)$/.test(name);

/** A message of signed size on a connection, and the first that went back on it. */
interface Exchange {
  readonly asked: number;
  readonly answered: number;
}

/** Of connections whose name matches. A message that comes in pieces counts from its last piece before the answer. */
function exchanges(calls: readonly Syscall[], connection: RegExp): Exchange[] {
  const open = new Map<string, number>();
  const found: Exchange[] = [];
  for (const [at, call] of calls.entries()) {
    if (!connection.test(call.file) || call.failed) continue;
    if (isIn(call) && moved(call) >= SIGNED_BYTES) open.set(call.file, at);
    const asked = open.get(call.file);
    if (!isOut(call) || asked === undefined) continue;
    found.push({ asked, answered: at });
    open.delete(call.file);
  }
  return found;
}

const syncsIn = (calls: readonly Syscall[], { asked, answered }: Exchange, file: RegExp): Syscall[] =>
  calls.slice(asked + 1, answered).filter((call) => isSync(call) && file.test(call.file));

/** Local end of a connection of a process that listens: `<TCP:[127.0.0.1:PORT->...]>`. */
const on = (port: string): RegExp => new RegExp(`^TCP[^\\[]*\\[[^>]*:${port}->`);
const to = (port: string): RegExp => new RegExp(`->[^\\]]*:${port}\\]`);

t.setTimeout(120_000);
const missing = straceMissing();

t.test('every acknowledgement follows the fsync of what it acknowledges', { skip: missing }, async (t) => {
  // WebSocket on the broker's one port: HTTP/2 answers data with window updates of its own, which look like messages here.
  await using world = await startWorld({ slots: 1, link: 'ws' });
  await using client = await world.openClient();
  const port = new URL((await openHome(join(world.folder, 'user')).profile()).url).port;
  const manifest = readFileSync(world.noop, 'utf8');
  const once = async (k: number): Promise<void> => {
    const items = [{ args: [{ name: 'x', type: 'bytes' as const, bytes: Buffer.from(`one ${k}`) }] }];
    const { ticket } = await client.submit({ terms: world.termsOf(client, world.noop), manifest, items });
    await ticket.all();
  };
  // Warm: the pilot runs, the endpoint's descriptor is known, every connection is open.
  await once(0);
  await once(1);
  let tracers: Tracer[] = [];
  try {
    tracers = [
      await attach(await world.brokerPid(), join(world.folder, 'broker.strace')),
      await attach(await world.agentPid(), join(world.folder, 'agent.strace')),
    ];
  } catch (cause) {
    t.pass('order of fsync and acknowledgement', { skip: `strace may not attach here: ${String(cause)}` });
    return;
  }
  const [broker, agent] = tracers as [Tracer, Tracer];
  try {
    await Promise.all([broker.take(), agent.take()]);
    for (let round = 0; round < ROUNDS; round++) {
      await once(2 + round);
      checkBroker(t, await broker.take(), port);
      checkAgent(t, await agent.take(), port);
    }
    const file = join(world.folder, 'blob');
    writeFileSync(file, Buffer.alloc(300_000, 'farfield'));
    await client.uploadFile(file);
    checkBlob(t, await broker.take(), port);
  } finally {
    for (const tracer of tracers) await tracer.stop();
  }
});

/** Submit and outcome: both end at the broker's one port, on different connections. */
function checkBroker(t: Test, calls: readonly Syscall[], port: string): void {
  const found = exchanges(calls, on(port));
  t.ok(found.length >= 2, `a submit and an outcome were seen at the broker (${found.length} exchanges)`);
  for (const exchange of found) {
    const synced = syncsIn(calls, exchange, /\.db-wal$/).length > 0;
    t.ok(synced, `the broker's answer on ${calls[exchange.answered]?.file} follows the fsync of its log`);
  }
}

function checkAgent(t: Test, calls: readonly Syscall[], port: string): void {
  const deliveries = exchanges(calls, to(port));
  t.equal(deliveries.length, 1, 'one delivery was seen at the agent');
  for (const exchange of deliveries)
    t.ok(syncsIn(calls, exchange, /ledger\.db-wal$/).length > 0, 'Admitted follows the fsync of the ledger');
  const dones = exchanges(calls, /^UNIX/);
  t.ok(dones.length >= 1, 'an outcome of a pilot was seen at the agent');
  for (const exchange of dones)
    t.ok(syncsIn(calls, exchange, /ledger\.db-wal$/).length > 0, 'DoneAck follows the fsync of the ledger');
}

/** fsync of the file, rename, fsync of the folder, commit, answer. */
function checkBlob(t: Test, calls: readonly Syscall[], port: string): void {
  const after = (from: number, test: (call: Syscall) => boolean): number =>
    calls.findIndex((call, at) => at > from && test(call));
  const lastIn = calls.findLastIndex((call) => isIn(call) && on(port).test(call.file) && moved(call) >= SIGNED_BYTES);
  const answer = after(lastIn, (call) => isOut(call) && call.file === calls[lastIn]?.file);
  const steps = [
    ['fsync of the file', (call: Syscall) => isSync(call) && /blobs\/partial\//.test(call.file)],
    ['rename', (call: Syscall) => call.name.startsWith('rename') && /blobs\/partial\//.test(call.line)],
    ['fsync of its folder', (call: Syscall) => isSync(call) && /blobs\/[0-9a-f]{2}$/.test(call.file)],
    ['fsync of the store', (call: Syscall) => isSync(call) && /\.db-wal$/.test(call.file)],
  ] as const;
  let at = lastIn;
  for (const [name, test] of steps) {
    at = after(at, test);
    t.ok(at >= 0, `the upload did ${name} in its place`);
  }
  t.ok(answer > at, 'and was answered after it');
}
