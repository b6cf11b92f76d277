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
import { CLOSE_GRACE_MS, LOAD_TIMEOUT_MS, MAX_LAST_WORDS, STDERR_TAIL_BYTES } from './limits.ts';
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
  return new Conversation(process, events, clock);
}

class Conversation implements RunnerHandle {
  readonly pid: number;
  state: 'starting' | 'ready' | 'ended' = 'starting';
  readonly #process: RunnerProcess;
  readonly #events: RunnerEvents;
  readonly #clock: Clock;
  readonly #reader = createPipeReader();
  readonly #tail = createTail();
  /** What the runner said of itself before it went. */
  #failed: FarfieldError | undefined;
  /** Why we end it. */
  #ending: FarfieldError | undefined;
  #loadTimer: Timer | undefined;

  constructor(process: RunnerProcess, events: RunnerEvents, clock: Clock) {
    this.pid = process.pid;
    this.#process = process;
    this.#events = events;
    this.#clock = clock;
    process.stdout.on('data', (chunk: Buffer) => this.#take(chunk));
    process.stderr.on('data', (chunk: Buffer) => {
      this.#tail.push(chunk);
      if (this.state !== 'ended') events.onLog(chunk);
    });
    void this.#finish();
  }

  load(request: Omit<Extract<RunnerRequest, { op: 'load' }>, 'op'>): void {
    const late = new FarfieldError('E_MODEL', 'the model was not loaded in time');
    this.#loadTimer = this.#clock.after(LOAD_TIMEOUT_MS, () => void this.kill(late));
    this.#send({ op: 'load', ...request });
  }

  run(items: readonly RunnerItem[], body: readonly Uint8Array[]): void {
    this.#send({ op: 'run', items: items as RunnerItem[] }, body);
  }

  cancel(ids: readonly string[]): void {
    this.#send({ op: 'cancel', ids: [...ids] });
  }

  async kill(why: FarfieldError): Promise<void> {
    this.#ending ??= why;
    await this.#process.kill(0);
  }

  async close(): Promise<void> {
    this.#ending ??= new FarfieldError('E_UNAVAILABLE', 'the runner was closed');
    this.#send({ op: 'close' });
    this.#process.stdin.end();
    const timer = this.#clock.after(CLOSE_GRACE_MS, () => void this.#process.kill(0));
    await this.#process.exited;
    timer.cancel();
  }

  #send(request: RunnerRequest, body: readonly Uint8Array[] = []): void {
    const { stdin } = this.#process;
    if (this.state !== 'ended' && stdin.writable) stdin.write(encodePipeFrame(request, body));
  }

  #take(chunk: Buffer): void {
    if (this.#ending !== undefined) return;
    try {
      for (const frame of this.#reader.push(chunk)) this.#handle(frame);
    } catch (reason) {
      // Whatever a broken runner writes ends that runner, never the pilot.
      void this.kill(FarfieldError.from(reason));
    }
  }

  #handle({ header, body }: PipeFrame): void {
    const reply = header as RunnerReply;
    switch (reply.op) {
      case 'ready':
        if (this.state !== 'starting') throw new FarfieldError('E_PROTOCOL', 'the runner said ready twice');
        this.state = 'ready';
        this.#loadTimer?.cancel();
        this.#events.onReady(reply.versions, reply.loadMs);
        break;
      case 'failed':
        this.#failed = runnerError(reply.code, reply.message);
        break;
      case 'done':
        this.#events.onDone(reply.items, body);
        break;
      case 'progress':
        this.#events.onProgress(reply.id, reply.done, reply.total, reply.perSecond);
        break;
      case 'stats':
        break;
      default: {
        const word = JSON.stringify((reply as { op: unknown }).op);
        throw new FarfieldError('E_PROTOCOL', `the runner said ${word}, which is no word of the protocol`);
      }
    }
  }

  async #finish(): Promise<void> {
    const { code, signal } = await this.#process.exited;
    this.#loadTimer?.cancel();
    // The runner is gone, but what it started may not be.
    const { left } = await this.#process.kill(0);
    const failedLoad = this.state === 'starting' && this.#ending === undefined && this.#failed !== undefined;
    this.state = 'ended';
    // The end of what it said, not the beginning: that is where the reason stands.
    const last = this.#tail.text().slice(-MAX_LAST_WORDS);
    const crash = `the runner ${describeExit(code, signal)}${last === '' ? '' : `; its last output: ${last}`}`;
    const error = this.#ending ?? this.#failed ?? new FarfieldError('E_FUNCTION', crash);
    this.#events.onEnded({ error, failedLoad, left });
  }
}
