/**
 * A runner that tries what a hostile function would: it answers every item with what it could read, write and reach. Told
 * to stop (SIGTERM), it takes its time and leaves a file, as a drain does.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { hostname } from 'node:os';
import { createPipeReader, encodePipeFrame } from '#base/pipe-frames.ts';
import type { RunnerItem, RunnerReply, RunnerRequest } from '#protos/runner.ts';

interface Wish {
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly port: number;
}

const DRAIN_MS = 1500;
const send = (reply: RunnerReply, body: Uint8Array[] = []): void =>
  void process.stdout.write(encodePipeFrame(reply, body));

function attempt(action: () => void): string {
  try {
    action();
    return 'done';
  } catch (reason) {
    return reason instanceof Error && 'code' in reason ? String(reason.code) : String(reason);
  }
}

function reach(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve('connected');
    });
    socket.once('error', (error) => resolve('code' in error ? String(error.code) : error.message));
  });
}

async function answer(item: RunnerItem, wish: Wish): Promise<void> {
  const value = {
    read: wish.read.map((path) => attempt(() => void readFileSync(path))),
    write: wish.write.map((path) => attempt(() => writeFileSync(path, 'x'))),
    reach: await reach(wish.port),
    interfaces: readFileSync('/proc/net/dev', 'utf8')
      .split('\n')
      .slice(2)
      .filter((line) => line !== '').length,
    processes: readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length,
    env: Object.keys(process.env).sort(),
    host: hostname(),
  };
  const bytes = Buffer.from(JSON.stringify(value));
  const result = { type: 'json', size: bytes.length, at: 'inline' } as const;
  send({ op: 'done', items: [{ id: item.id, status: 'succeeded', result }] }, [bytes]);
}

process.once('SIGTERM', () => {
  setTimeout(() => {
    writeFileSync('/farfield/out/drained', 'yes');
    process.exit(0);
  }, DRAIN_MS);
});

const reader = createPipeReader();
process.stdin.on('data', (chunk: Buffer) => {
  for (const { header, body } of reader.push(chunk)) {
    const request = header as RunnerRequest;
    if (request.op === 'load') send({ op: 'ready', loadMs: 0, versions: {} });
    if (request.op === 'close') process.exit(0);
    if (request.op !== 'run') continue;
    let at = 0;
    for (const item of request.items) {
      const size = item.args[0]?.size ?? 0;
      void answer(item, JSON.parse(body.subarray(at, at + size).toString()) as Wish);
      at += size;
    }
  }
});
process.stdin.on('end', () => process.exit(0));
