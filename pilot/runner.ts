/**
 * One runner process and the conversation with it.
 *
 *     starting --ready--> ready --close--> ended
 *        |                  |
 *        +--failed, exit, garbage, kill----> ended
 *
 * Invariants
 *  N1 `onEnded` is called once, with the reason, after the process and its tree are gone (or what could not be ended is named).
 *  N2 After `onEnded` nothing else is called. What was in flight is its owner's to answer for.
 *  N3 Whatever the runner prints on stderr is untrusted text: cleaned before it is shown, cut, and counted when dropped.
 */
import type { Clock, Timer } from '#base/clock.ts';
import { createPipeReader, encodePipeFrame, type PipeFrame } from '#base/pipe-frames.ts';
import { plain } from '#base/plain.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import type { RunnerDone, RunnerItem, RunnerReply, RunnerRequest } from '#protos/runner.ts';
import { CLOSE_GRACE_MS, LOAD_TIMEOUT_MS, STDERR_TAIL_BYTES } from './limits.ts';
import type { RunnerProcess } from './runtimes/runtime.ts';

export interface RunnerEnd {
  /** What to say of items that were in flight, unless their owner knows better. */
  readonly error: FarfieldError;
  /** True when the runner said `failed` before it was ready: the model or function is at fault, not an item. */
  readonly failedLoad: boolean;
  /** Processes that could not be ended. */
  readonly left: readonly number[];
}

export interface RunnerEvents {
  onReady(versions: Readonly<Record<string, string>>, loadMs: number): void;
  /** `body` holds the inline results of these items, back to back. */
  onDone(items: readonly RunnerDone[], body: Buffer): void;
  onProgress(id: string, done: number, total: number, perSecond: number): void;
  onLog(bytes: Buffer): void;
  onEnded(end: RunnerEnd): void;
}

export interface RunnerHandle {
  readonly pid: number;
  readonly state: 'starting' | 'ready' | 'ended';
  load(request: Omit<Extract<RunnerRequest, { op: 'load' }>, 'op'>): void;
  run(items: readonly RunnerItem[], body: readonly Uint8Array[]): void;
  cancel(ids: readonly string[]): void;
  /** Asks for an orderly end, then kills whatever is left of the tree. */
  close(): Promise<void>;
  /** Ends the tree now; `why` is what onEnded will say. */
  kill(why: FarfieldError): Promise<void>;
}

/** The last bytes of stderr, for the message of a crash. */
function createTail(): { push(chunk: Buffer): void; text(): string } {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    push(chunk) {
      chunks.push(chunk);
      bytes += chunk.length;
      while (chunks.length > 1 && bytes - (chunks[0]?.length ?? 0) >= STDERR_TAIL_BYTES)
        bytes -= chunks.shift()?.length ?? 0;
    },
    text: () => plain(Buffer.concat(chunks).subarray(-STDERR_TAIL_BYTES).toString('utf8')).trim(),
  };
}

/** A bounded, cleaned message of a runner. */
export function runnerError(code: string, message: string): FarfieldError {
  return new FarfieldError(isErrorCode(code) ? code : 'E_FUNCTION', plain(message).slice(0, 2000));
}

/** `128 + n` is how a shell, and the keeper of a PID namespace, report signal n. */
function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal === 'SIGKILL' || code === 137) return 'was killed (SIGKILL: out of memory?)';
  if (signal !== null) return `was ended by ${signal}`;
  if (code !== null && code > 128 && code < 160) return `was ended by signal ${code - 128}`;
  return `ended with exit code ${code ?? '?'}`;
}

export function openRunner(process: RunnerProcess, events: RunnerEvents, clock: Clock): RunnerHandle {
  const reader = createPipeReader();
  const tail = createTail();
  let state: 'starting' | 'ready' | 'ended' = 'starting';
  let failed: FarfieldError | undefined;
  let ending: { why: FarfieldError } | undefined;
  let loadTimer: Timer | undefined;

  function send(request: RunnerRequest, body: readonly Uint8Array[] = []): void {
    if (state !== 'ended' && process.stdin.writable) process.stdin.write(encodePipeFrame(request, body));
  }

  async function kill(why: FarfieldError, graceMs = 0): Promise<void> {
    ending ??= { why };
    await process.kill(graceMs);
  }

  function handle({ header, body }: PipeFrame): void {
    const reply = header as RunnerReply;
    switch (reply.op) {
      case 'ready':
        if (state !== 'starting') throw new FarfieldError('E_PROTOCOL', 'the runner said ready twice');
        state = 'ready';
        loadTimer?.cancel();
        events.onReady(reply.versions, reply.loadMs);
        break;
      case 'failed':
        failed = runnerError(reply.code, reply.message);
        break;
      case 'done':
        events.onDone(reply.items, body);
        break;
      case 'progress':
        events.onProgress(reply.id, reply.done, reply.total, reply.perSecond);
        break;
      case 'stats':
        break;
      default:
        throw new FarfieldError(
          'E_PROTOCOL',
          `the runner said ${JSON.stringify((reply as { op: unknown }).op)}, which is no word of the protocol`,
        );
    }
  }

  process.stdout.on('data', (chunk: Buffer) => {
    if (ending !== undefined) return;
    try {
      for (const frame of reader.push(chunk)) handle(frame);
    } catch (reason) {
      // Whatever a broken runner writes ends that runner, never the pilot.
      void kill(FarfieldError.from(reason));
    }
  });
  process.stderr.on('data', (chunk: Buffer) => {
    tail.push(chunk);
    if (state !== 'ended') events.onLog(chunk);
  });

  async function finish(): Promise<void> {
    const { code, signal } = await process.exited;
    loadTimer?.cancel();
    // The runner is gone, but what it started may not be.
    const { left } = await process.kill(0);
    const failedLoad = state === 'starting' && ending === undefined && failed !== undefined;
    state = 'ended';
    const last = tail.text();
    const crash = `the runner ${describeExit(code, signal)}${last === '' ? '' : `; its last output: ${last}`}`;
    events.onEnded({
      error: ending?.why ?? failed ?? new FarfieldError('E_FUNCTION', crash.slice(0, 2000)),
      failedLoad,
      left,
    });
  }
  void finish();

  return {
    pid: process.pid,
    get state() {
      return state;
    },
    load(request) {
      loadTimer = clock.after(
        LOAD_TIMEOUT_MS,
        () => void kill(new FarfieldError('E_MODEL', 'the model was not loaded in time')),
      );
      send({ op: 'load', ...request });
    },
    run: (items, body) => send({ op: 'run', items: items as RunnerItem[] }, body),
    cancel: (ids) => send({ op: 'cancel', ids: [...ids] }),
    kill,
    async close() {
      ending ??= { why: new FarfieldError('E_UNAVAILABLE', 'the runner was closed') };
      send({ op: 'close' });
      process.stdin.end();
      const timer = clock.after(CLOSE_GRACE_MS, () => void process.kill(0));
      await process.exited;
      timer.cancel();
    },
  };
}
