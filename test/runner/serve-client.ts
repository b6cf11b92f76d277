/** A caller of `farfield-runner serve`, for tests: starts the real program and speaks HTTP with it, by hand where need be. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = process.env.RUNNER_MAIN ?? fileURLToPath(new URL('../../runner/main.ts', import.meta.url));

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The JSON part; undefined where there is none. */
  readonly json: Record<string, unknown> | undefined;
  /** What follows the JSON. */
  readonly tail: Buffer;
}

export type Event = { readonly event: string } & Record<string, unknown>;

export interface Served extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly socketPath: string;
  readonly stderr: () => string;
  readonly exit: Promise<number | null>;
  /** The first event of this name, past or future. */
  event(name: string): Promise<Event>;
  get(path: string, headers?: Record<string, string>): Promise<Reply>;
  post(path: string, body: Uint8Array | string, headers?: Record<string, string>): Promise<Reply>;
  /** Sends bytes as they are and answers everything that comes until the other side ends. */
  raw(bytes: string | Uint8Array): Promise<string>;
}

/** Starts `serve` on a socket in a folder of its own; not yet ready. */
export function startServe(model: string, more: readonly string[] = [], listen?: string): Served {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-serve-test-'));
  const socketPath = join(folder, 's.sock');
  const args = [MAIN, 'serve', '--model', model, '--listen', listen ?? `unix:${socketPath}`, ...more];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const events: Event[] = [];
  const waiting: (() => void)[] = [];
  let log = '';
  let over = false;
  const wakeAll = (): void => {
    for (const wake of waiting.splice(0)) wake();
  };
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    events.push(JSON.parse(line) as Event);
    wakeAll();
  });
  const exit = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      over = true;
      rmSync(folder, { recursive: true, force: true });
      wakeAll();
      resolve(code);
    });
  });
  const ask = (
    method: string,
    path: string,
    body: Uint8Array | string | undefined,
    headers: Record<string, string> = {},
  ): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath, method, path, headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => resolve(reply(response.statusCode ?? 0, response.headers, Buffer.concat(chunks))));
      });
      asked.on('error', reject);
      asked.end(body);
    });
  return {
    child,
    socketPath,
    exit,
    stderr: () => log,
    async event(name) {
      for (;;) {
        const found = events.find(({ event }) => event === name);
        if (found !== undefined) return found;
        if (over) throw new Error(`it ended before ${name}: ${JSON.stringify(events)} ${log}`);
        await new Promise<void>((wake) => waiting.push(wake));
      }
    },
    get: (path, headers) => ask('GET', path, undefined, headers),
    post: (path, body, headers) => ask('POST', path, body, headers),
    raw: (bytes) =>
      new Promise((resolve) => {
        const socket = connect(socketPath);
        let got = '';
        socket.on('data', (chunk) => {
          got += chunk.toString('latin1');
        });
        socket.on('error', () => {});
        socket.on('close', () => resolve(got));
        socket.write(bytes);
      }),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await exit;
    },
  };
}

function reply(status: number, headers: IncomingHttpHeaders, body: Buffer): Reply {
  const length = Number(headers['inference-header-content-length'] ?? body.byteLength);
  const text = body.subarray(0, length).toString();
  const json = text === '' ? undefined : (JSON.parse(text) as Record<string, unknown>);
  return { status, headers, body, json, tail: body.subarray(length) };
}

/** A body of the binary extension, and its headers. */
export function binaryBody(
  header: Record<string, unknown>,
  ...tensors: readonly ArrayBufferView[]
): { readonly body: Buffer; readonly headers: Record<string, string> } {
  const json = Buffer.from(JSON.stringify(header));
  const parts = tensors.map((t) => Buffer.from(t.buffer, t.byteOffset, t.byteLength));
  return {
    body: Buffer.concat([json, ...parts]),
    headers: { 'inference-header-content-length': String(json.byteLength) },
  };
}

/** Floats out of bytes that lie anywhere. */
export function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}
