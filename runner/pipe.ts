/**
 * The loop of a runner on its pipe: frames in, items to the adapter, `done` entries out.
 *
 * Invariants
 *  L1 Every item of a `run` is answered exactly once, whatever its adapter does (P1 of protos/runner.ts).
 *  L2 Answers of one event-loop turn share a frame; a frame is closed early when its results reach DONE_FRAME_BYTES.
 *  L3 Reading stops while the pilot does not read, or while too much is pending, and goes on after; cancels wait with it,
 *     which is right: a pilot that does not read has stopped caring.
 *  L4 An unknown `op` or key, a second `load`, a `run` before `ready`: the runner says `failed` with E_PROTOCOL and exits.
 *  L5 At the end of stdin the runner cancels what runs and exits: a runner never outlives its pilot.
 */
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { RunnerDone, RunnerItem, RunnerReply, RunnerRequest, RunnerResult } from '#protos/runner.ts';
import type { Call, CallAdapter, CallArg, CallResult } from './adapters/adapter.ts';
import { EXIT } from './exits.ts';
import { type Frame, FrameReader, encodeFrame } from './frames.ts';
import { DONE_FRAME_BYTES, MAX_PENDING_BYTES, MAX_PENDING_ITEMS } from './limits.ts';
import { type Check, type JsonSchema, compileSchema } from './schema.ts';
import schemas from './schemas.json' with { type: 'json' };

export interface PipeParts {
  readonly input: Readable;
  readonly output: Writable;
  readonly clock: Clock;
  /** The adapter of this name, or undefined if there is none. */
  readonly createAdapter: (name: string) => CallAdapter | undefined;
  /** Resident bytes of this process, for `stats`. */
  readonly memory: () => { rssBytes: number; peakRssBytes: number };
}

/** Runs until the pilot closes the pipe or asks for the end; answers the exit code. */
export function runPipe(parts: PipeParts): Promise<number> {
  return new Pipe(parts).run();
}

type LoadRequest = Extract<RunnerRequest, { op: 'load' }>;

interface Pending {
  readonly call: Call;
  /** Bytes of its inline arguments. */
  readonly bytes: number;
}

class Pipe {
  readonly #parts: PipeParts;
  readonly #check: Check = compileSchema(schemas.request as JsonSchema);
  readonly #frames = new FrameReader();
  readonly #pending = new Map<string, Pending>();
  readonly #ended = Promise.withResolvers<number>();
  #pendingBytes = 0;
  #state: 'fresh' | 'loading' | 'ready' | 'closing' = 'fresh';
  #adapter: CallAdapter | undefined;
  #done: RunnerDone[] = [];
  #bodies: Uint8Array[] = [];
  #bodyBytes = 0;
  #flushing = false;
  #blocked = false;
  #items = { succeeded: 0, failed: 0, cancelled: 0 };

  constructor(parts: PipeParts) {
    this.#parts = parts;
  }

  run(): Promise<number> {
    const { input, output } = this.#parts;
    input.on('data', (chunk: Uint8Array) => this.#guard(() => this.#take(chunk)));
    input.on('end', () => this.#guard(() => this.#inputEnded()));
    input.on('error', () => void this.#close(EXIT.ok));
    output.on('drain', () => {
      this.#blocked = false;
      this.#regulate();
    });
    // The pilot is gone: nobody is left to tell.
    output.on('error', () => this.#ended.resolve(EXIT.pipe));
    return this.#ended.promise;
  }

  /** Expected failures of the conversation end it (L4); anything else is a defect and is thrown. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (reason) {
      if (!(reason instanceof FarfieldError)) throw reason;
      this.#fail(reason, EXIT.protocol);
    }
  }

  #take(chunk: Uint8Array): void {
    if (this.#state === 'closing') return;
    for (const frame of this.#frames.push(chunk)) this.#handle(frame);
    this.#regulate();
  }

  #handle({ header, body }: Frame): void {
    const problem = this.#check(header);
    if (problem !== undefined) throw new FarfieldError('E_PROTOCOL', `a frame that is not understood: request${problem}`);
    const request = header as RunnerRequest;
    if (request.op !== 'run' && body.byteLength > 0) {
      throw new FarfieldError('E_PROTOCOL', `a body of ${body.byteLength} bytes with ${request.op}`);
    }
    switch (request.op) {
      case 'load':
        return this.#load(request);
      case 'run':
        return this.#run(request.items, body);
      case 'cancel':
        return request.ids.forEach((id) => this.#cancel(id));
      case 'stats':
        return this.#send({ op: 'stats', stats: this.#stats() });
      case 'close':
        void this.#close(EXIT.ok);
    }
  }

  #load(request: LoadRequest): void {
    if (this.#state !== 'fresh') throw new FarfieldError('E_PROTOCOL', 'a second load');
    this.#state = 'loading';
    const { clock, createAdapter } = this.#parts;
    const started = clock.mono();
    const { adapter: name, entry = {}, threads, scratchDir, modelRoot, variant } = request;
    const load = async (): Promise<void> => {
      const adapter = createAdapter(name);
      if (adapter === undefined) throw new FarfieldError('E_VARIANT_INCOMPATIBLE', `no adapter ${JSON.stringify(name)} in this runner`);
      this.#adapter = adapter;
      const versions = await adapter.load({ modelRoot, variant, entry, threads, scratchDir });
      if (this.#state === 'closing') return;
      this.#state = 'ready';
      this.#send({ op: 'ready', versions, loadMs: Math.round((clock.mono() - started) * 10) / 10 });
    };
    load().catch((reason: unknown) => this.#fail(FarfieldError.from(reason), EXIT.load));
  }

  #run(items: readonly RunnerItem[], body: Uint8Array): void {
    if (this.#state !== 'ready') throw new FarfieldError('E_PROTOCOL', 'a run before ready');
    let at = 0;
    for (const item of items) {
      if (this.#pending.has(item.id)) throw new FarfieldError('E_PROTOCOL', `item ${item.id} is already running`);
      const from = at;
      const args: CallArg[] = item.args.map((arg) => {
        if (arg.at === 'file') return { arg, bytes: undefined };
        if (at + arg.size > body.byteLength) throw new FarfieldError('E_PROTOCOL', 'a body shorter than its items say');
        return { arg, bytes: body.subarray(at, (at += arg.size)) };
      });
      this.#start(item, args, at - from);
    }
    if (at !== body.byteLength) throw new FarfieldError('E_PROTOCOL', 'a body longer than its items say');
  }

  #start(item: RunnerItem, args: readonly CallArg[], bytes: number): void {
    const progress: Call['progress'] = (done, total, perSecond) =>
      this.#send({ op: 'progress', id: item.id, done, total, perSecond: Math.round(perSecond) });
    const call: Call = { item, args, cancelled: false, onCancel: undefined, progress };
    let outcome: CallResult | Promise<CallResult>;
    try {
      outcome = (this.#adapter as CallAdapter).infer(call);
    } catch (reason) {
      return this.#failed(item.id, reason);
    }
    if (!(outcome instanceof Promise)) return this.#succeeded(item, outcome);
    this.#pending.set(item.id, { call, bytes });
    this.#pendingBytes += bytes;
    outcome.then(
      (result) => this.#settled(item.id, () => this.#succeeded(item, result)),
      (reason: unknown) => this.#settled(item.id, () => this.#failed(item.id, reason)),
    );
  }

  #settled(id: string, answer: () => void): void {
    this.#pendingBytes -= this.#pending.get(id)?.bytes ?? 0;
    this.#pending.delete(id);
    answer();
    this.#regulate();
  }

  /** A cancel for an item that is done, or was never seen, is late: it changes nothing. */
  #cancel(id: string): void {
    const pending = this.#pending.get(id);
    if (pending === undefined || pending.call.cancelled) return;
    pending.call.cancelled = true;
    pending.call.onCancel?.();
  }

  #succeeded(item: RunnerItem, { type, value, rep }: CallResult): void {
    const size = value.at === 'inline' ? value.bytes.byteLength : value.size;
    if (size > item.maxBytes) {
      const message = `the result has ${size} bytes, over the limit of ${item.maxBytes}`;
      return this.#failed(item.id, new FarfieldError('E_RESULT_TOO_LARGE', message));
    }
    this.#items.succeeded++;
    const result: RunnerResult =
      value.at === 'inline' ? { type, size, at: 'inline' } : { type, size, at: 'file', path: value.path };
    const done: RunnerDone = { id: item.id, status: 'succeeded', result, ...(rep === undefined ? {} : { rep }) };
    this.#queue(done, value.at === 'inline' ? value.bytes : undefined);
  }

  #failed(id: string, reason: unknown): void {
    // What a function throws is its own affair (E_FUNCTION); the stack goes to the log, the message to the caller.
    const error =
      reason instanceof FarfieldError ? reason : new FarfieldError('E_FUNCTION', messageOf(reason), { cause: reason });
    const cancelled = error.code === 'E_CANCELLED';
    this.#items[cancelled ? 'cancelled' : 'failed']++;
    const status = cancelled ? 'cancelled' : 'failed';
    this.#queue({ id, status, error: { code: error.code, message: error.message } }, undefined);
  }

  #queue(done: RunnerDone, body: Uint8Array | undefined): void {
    this.#done.push(done);
    if (body !== undefined && body.byteLength > 0) {
      this.#bodies.push(body);
      this.#bodyBytes += body.byteLength;
    }
    if (this.#bodyBytes >= DONE_FRAME_BYTES) return this.#flush();
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#done.length === 0) return;
    const items = this.#done;
    const bodies = this.#bodies;
    this.#done = [];
    this.#bodies = [];
    this.#bodyBytes = 0;
    this.#send({ op: 'done', items }, bodies);
  }

  #send(reply: RunnerReply, body: readonly Uint8Array[] = []): void {
    const parts = encodeFrame(reply, body);
    // One write: a frame of 100 results of 100 bytes would otherwise be 101 system calls.
    if (!this.#parts.output.write(parts.length === 1 ? parts[0] : Buffer.concat(parts))) this.#blocked = true;
  }

  #regulate(): void {
    const { input } = this.#parts;
    const full = this.#blocked || this.#pendingBytes > MAX_PENDING_BYTES || this.#pending.size > MAX_PENDING_ITEMS;
    if (full) input.pause();
    else if (input.isPaused()) input.resume();
  }

  #stats(): Record<string, number> {
    const { rssBytes, peakRssBytes } = this.#parts.memory();
    return { ...this.#items, pending: this.#pending.size, rssBytes, peakRssBytes, ...this.#adapter?.stats() };
  }

  #fail({ code, message }: FarfieldError, exit: number): void {
    if (this.#state === 'closing') return;
    this.#flush();
    this.#send({ op: 'failed', code, message });
    void this.#close(exit);
  }

  #inputEnded(): void {
    if (this.#state === 'closing') return;
    if (!this.#frames.empty) throw new FarfieldError('E_PROTOCOL', 'the pipe ended inside a frame');
    void this.#close(EXIT.ok);
  }

  async #close(exit: number): Promise<void> {
    if (this.#state === 'closing') return;
    this.#state = 'closing';
    for (const id of this.#pending.keys()) this.#cancel(id);
    try {
      await this.#adapter?.close();
    } catch {
      // An adapter that cannot close does not keep the process.
    }
    this.#flush();
    const { output } = this.#parts;
    output.end(() => this.#ended.resolve(exit));
  }
}

function messageOf(reason: unknown): string {
  const text = reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason);
  return text.slice(0, 2000);
}
