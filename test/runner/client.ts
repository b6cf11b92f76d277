/** A pilot's side of the pipe, for tests: starts a real runner process and speaks frames with it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createPipeReader, encodePipeFrame } from '#base/pipe-frames.ts';
import type { RunnerArg, RunnerDone, RunnerItem, RunnerReply, RunnerRequest } from '#protos/runner.ts';

const MAIN = process.env.RUNNER_MAIN ?? fileURLToPath(new URL('../../runner/main.ts', import.meta.url));
export const BRAGG = fileURLToPath(new URL('../../models/braggnn', import.meta.url));

export interface Answer {
  readonly done: RunnerDone;
  readonly bytes: Uint8Array;
}

export interface Client extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly scratchDir: string;
  /** Every reply but `done`, in order. */
  readonly replies: RunnerReply[];
  /** Frames that came, whatever they held. */
  readonly frameCount: () => number;
  send(request: RunnerRequest, body?: readonly Uint8Array[]): void;
  write(bytes: Uint8Array): void;
  /** The first reply with this op, past or future. */
  reply<O extends RunnerReply['op']>(op: O): Promise<Extract<RunnerReply, { op: O }>>;
  load(adapter: string, more?: Partial<Extract<RunnerRequest, { op: 'load' }>>): Promise<RunnerReply>;
  /** Runs one item and waits for its end. */
  call(item: Partial<RunnerItem> & { id: string }, body?: readonly Uint8Array[]): Promise<Answer>;
  answer(id: string): Promise<Answer>;
  readonly answers: ReadonlyMap<string, Answer>;
  readonly stderr: () => string;
  readonly exit: Promise<number | null>;
}

export function item(more: Partial<RunnerItem> & { id: string }): RunnerItem {
  return { args: [], outDir: tmpdir(), maxInlineBytes: 65536, maxBytes: 2 ** 32, ...more };
}

export const inline = (name: string, type: string, bytes: Uint8Array): RunnerArg => ({
  name,
  type,
  at: 'inline',
  size: bytes.byteLength,
});
export const file = (name: string, type: string, path: string, sel?: string): RunnerArg => ({
  name,
  type,
  at: 'file',
  path,
  size: 0,
  ...(sel === undefined ? {} : { sel }),
});

export function startRunner(args: readonly string[] = ['pipe']): Client {
  const scratchDir = mkdtempSync(join(tmpdir(), 'farfield-runner-test-'));
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  const frames = createPipeReader();
  const replies: RunnerReply[] = [];
  const answers = new Map<string, Answer>();
  const waiting: (() => void)[] = [];
  let count = 0;
  let log = '';
  let over = false;
  const exit = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      over = true;
      rmSync(scratchDir, { recursive: true, force: true });
      for (const wake of waiting.splice(0)) wake();
      resolve(code);
    });
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  child.stdin?.on('error', () => {});
  child.stdout?.on('data', (chunk: Buffer) => {
    for (const { header, body } of frames.push(chunk)) {
      count++;
      const reply = header as RunnerReply;
      if (reply.op !== 'done') replies.push(reply);
      else {
        let at = 0;
        for (const done of reply.items) {
          const size = done.result?.at === 'inline' ? done.result.size : 0;
          if (answers.has(done.id)) throw new Error(`item ${done.id} was answered twice`);
          answers.set(done.id, { done, bytes: body.slice(at, at + size) });
          at += size;
        }
      }
    }
    for (const wake of waiting.splice(0)) wake();
  });
  const until = async <V>(what: string, find: () => V | undefined): Promise<V> => {
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (over) throw new Error(`the runner ended before ${what}; stderr: ${log}`);
      await new Promise<void>((wake) => waiting.push(wake));
    }
  };
  const client: Client = {
    child,
    scratchDir,
    replies,
    answers,
    exit,
    frameCount: () => count,
    stderr: () => log,
    write: (bytes) => void child.stdin?.write(bytes),
    send(request, body = []) {
      child.stdin?.write(encodePipeFrame(request, body));
    },
    reply: (op) => until(`a ${op}`, () => replies.find((r) => r.op === op)) as never,
    load(adapter, more = {}) {
      client.send({ op: 'load', adapter, threads: 2, scratchDir, ...more });
      return until('ready or failed', () => replies.find((r) => r.op === 'ready' || r.op === 'failed'));
    },
    async call(wanted, body = []) {
      client.send({ op: 'run', items: [item({ outDir: scratchDir, ...wanted })] }, body);
      return client.answer(wanted.id);
    },
    answer: (id) => until(`the answer of ${id}`, () => answers.get(id)),
    async [Symbol.asyncDispose]() {
      child.stdin?.end();
      await exit;
    },
  };
  return client;
}
