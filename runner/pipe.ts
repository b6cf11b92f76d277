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
 *  L6 An adapter that can serve no further call ends the runner, after its items were answered.
 */
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '#base/clock.ts';
import { createPipeReader, encodePipeFrame, type PipeFrame } from '#base/pipe-frames.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { RunnerArg, RunnerDone, RunnerItem, RunnerReply, RunnerRequest, RunnerResult } from '#protos/runner.ts';
import type { Call, CallAdapter, CallArg, CallResult } from './adapters/adapter.ts';
import { EXIT } from './exits.ts';
import { DONE_FRAME_BYTES, MAX_PENDING_BYTES, MAX_PENDING_ITEMS } from './limits.ts';
import { type Check, compileSchema, type JsonSchema } from './schema.ts';
import schemas from './schemas.json' with { type: 'json' };

export interface PipeParts {
  readonly input: Readable;
  readonly output: Writable;
  readonly clock: Clock;
  /** The adapter of this name, or undefined if there is none. */
  readonly createAdapter: (name: string) => CallAdapter | undefined;
  readonly log: (text: string) => void;
  /** Resident bytes of this process, for `stats`. */
  readonly memory: () => { rssBytes: number; peakRssBytes: number };
}

/** Runs until the pilot closes the pipe or asks for the end; answers the exit code. */
export function runPipe(parts: PipeParts): Promise<number> {
  return new Pipe(parts).run();
}

/** The request that decides what this runner serves for the rest of its life. */
type LoadRequest = Extract<RunnerRequest, { op: 'load' }>;

interface Pending {
  readonly call: Call;
  /** Bytes of its inline arguments. */
  readonly bytes: number;
}

type Progress = (id: string, done: number, total: number, perSecond: number) => void;

/** A class, not an object literal with closures: one is made for every item, and 50,000 no-ops a second feel it. */
class PipeCall implements Call {
  readonly item: RunnerItem;
  readonly args: readonly CallArg[];
  cancelled = false;
  onCancel: (() => void) | undefined = undefined;
  readonly #progress: Progress;

  constructor(item: RunnerItem, args: readonly CallArg[], progress: Progress) {
    this.item = item;
    this.args = args;
    this.#progress = progress;
  }

  progress(done: number, total: number, perSecond: number): void {
    this.#progress(this.item.id, done, total, perSecond);
  }
}

/** The conversation: fresh, loading, ready, closing, each entered once and in this order. */
class Pipe {
  readonly #parts: PipeParts;
  readonly #check: Check = compileSchema(schemas.request as JsonSchema);
  readonly #frames = createPipeReader('the pilot');
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
    input.on('data', (chunk: Buffer) => this.#guard(() => this.#take(chunk)));
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

  /** Handles whole frames; the reader keeps the rest. */
  #take(chunk: Buffer): void {
    if (this.#state === 'closing') return;
    for (const frame of this.#frames.push(chunk)) this.#handle(frame);
    this.#regulate();
  }

  /**
   * One request. A body belongs to `run` alone; bytes that belong to nothing mean that the two sides disagree on
   * lengths.
   */
  #handle({ header, body }: PipeFrame): void {
    const problem = this.#check(header);
    if (problem !== undefined)
      throw new FarfieldError('E_PROTOCOL', `a frame that is not understood: request${problem}`);
    const request = header as RunnerRequest;
    if (request.op !== 'run' && body.byteLength > 0) {
      throw new FarfieldError('E_PROTOCOL', `a body of ${body.byteLength} bytes with ${request.op}`);
    }
    switch (request.op) {
      case 'load':
        this.#load(request);
        break;
      case 'run':
        this.#run(request.items, body);
        break;
      case 'cancel':
        for (const id of request.ids) this.#cancel(id);
        break;
      case 'stats':
        this.#send({ op: 'stats', stats: this.#stats() });
        break;
      case 'close':
        void this.#close(EXIT.ok);
    }
  }

  /** Answers `ready`, or `failed` and the end. A close that came during the load wins over its answer. */
  #load(request: LoadRequest): void {
    if (this.#state !== 'fresh') throw new FarfieldError('E_PROTOCOL', 'a second load');
    this.#state = 'loading';
    const { clock, createAdapter } = this.#parts;
    const started = clock.mono();
    const { adapter: name, entry = {}, threads, scratchDir, modelRoot, variant } = request;
    const load = async (): Promise<void> => {
      const adapter = createAdapter(name);
      if (adapter === undefined)
        throw new FarfieldError('E_VARIANT_INCOMPATIBLE', `no adapter ${JSON.stringify(name)} in this runner`);
      this.#adapter = adapter;
      const versions = await adapter.load({ modelRoot, variant, entry, threads, scratchDir });
      if (this.#state === 'closing') return;
      this.#state = 'ready';
      this.#send({ op: 'ready', versions, loadMs: Math.round((clock.mono() - started) * 10) / 10 });
    };
    load().catch((reason: unknown) => this.#fail(FarfieldError.from(reason), EXIT.load));
  }

  readonly #progress: Progress = (id, done, total, perSecond) =>
    this.#send({ op: 'progress', id, done, total, perSecond: Math.round(perSecond) });

  #run(items: readonly RunnerItem[], body: Uint8Array): void {
    if (this.#state !== 'ready') throw new FarfieldError('E_PROTOCOL', 'a run before ready');
    const inline = items.reduce((sum, { args }) => sum + args.reduce((n, arg) => n + inlineBytes(arg), 0), 0);
    if (inline !== body.byteLength) {
      throw new FarfieldError('E_PROTOCOL', `a body of ${body.byteLength} bytes for items that say ${inline}`);
    }
    let at = 0;
    for (const item of items) {
      if (this.#pending.has(item.id)) throw new FarfieldError('E_PROTOCOL', `item ${item.id} is already running`);
      const from = at;
      const args: CallArg[] = [];
      for (const arg of item.args) {
        const end = at + inlineBytes(arg);
        args.push({ arg, bytes: arg.at === 'inline' ? body.subarray(at, end) : undefined });
        at = end;
      }
      this.#start(new PipeCall(item, args, this.#progress), at - from);
    }
  }

  /** Gives the item to the adapter. An adapter that throws, at once or later, fails this item and no other (L1). */
  #start(call: PipeCall, bytes: number): void {
    const { item } = call;
    let outcome: CallResult | Promise<CallResult>;
    try {
      outcome = (this.#adapter as CallAdapter).infer(call);
    } catch (reason) {
      this.#failed(item.id, reason);
      return;
    }
    // An answer that is there already is not made to wait for a promise: no-ops are half as fast then.
    if (!(outcome instanceof Promise)) {
      this.#succeeded(item, outcome);
      return;
    }
    this.#pending.set(item.id, { call, bytes });
    this.#pendingBytes += bytes;
    outcome.then(
      (result) => this.#settled(item.id, () => this.#succeeded(item, result)),
      (reason: unknown) => this.#settled(item.id, () => this.#failed(item.id, reason)),
    );
  }

  /** The end of an item that was not answered at once. */
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

  /** The limit is checked again here for adapters that do not know it; a pilot would refuse the bytes anyway. */
  #succeeded(item: RunnerItem, { type, value, rep }: CallResult): void {
    const size = value.at === 'inline' ? value.bytes.byteLength : value.size;
    if (size > item.maxBytes) {
      const message = `the result has ${size} bytes, over the limit of ${item.maxBytes}`;
      this.#failed(item.id, new FarfieldError('E_RESULT_TOO_LARGE', message));
      return;
    }
    this.#items.succeeded++;
    const result: RunnerResult =
      value.at === 'inline' ? { type, size, at: 'inline' } : { type, size, at: 'file', path: value.path };
    const done: RunnerDone = { id: item.id, status: 'succeeded', result, ...(rep === undefined ? {} : { rep }) };
    this.#queue(done, value.at === 'inline' ? value.bytes : undefined);
  }

  /** `cancelled` is what an adapter says by E_CANCELLED; whoever asked knows why. */
  #failed(id: string, reason: unknown): void {
    const error = toFarfield(reason);
    // A stack is for whoever runs the endpoint; the caller gets the message.
    if (error !== reason) this.#parts.log(reason instanceof Error ? (reason.stack ?? reason.message) : String(reason));
    const cancelled = error.code === 'E_CANCELLED';
    this.#items[cancelled ? 'cancelled' : 'failed']++;
    const status = cancelled ? 'cancelled' : 'failed';
    this.#queue({ id, status, error: { code: error.code, message: error.message } }, undefined);
    const broken = this.#adapter?.broken?.();
    if (broken !== undefined) this.#fail(broken, EXIT.defect);
  }

  /** L2: the first entry of a turn arms the flush, the others ride along. */
  #queue(done: RunnerDone, body: Uint8Array | undefined): void {
    this.#done.push(done);
    if (body !== undefined && body.byteLength > 0) {
      this.#bodies.push(body);
      this.#bodyBytes += body.byteLength;
    }
    if (this.#bodyBytes >= DONE_FRAME_BYTES) this.#flush();
    else if (!this.#flushing) {
      this.#flushing = true;
      setImmediate(() => this.#flush());
    }
  }

  /** Sends what was gathered as one `done`; called with nothing gathered, it does nothing. */
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

  /** Writes a frame; a full pipe is remembered until it drains (L3). */
  #send(reply: RunnerReply, body: readonly Uint8Array[] = []): void {
    if (!this.#parts.output.write(encodePipeFrame(reply, body))) this.#blocked = true;
  }

  /** Stops or restarts reading. Node keeps what was read already, at most one chunk. */
  #regulate(): void {
    const { input } = this.#parts;
    const full = this.#blocked || this.#pendingBytes > MAX_PENDING_BYTES || this.#pending.size > MAX_PENDING_ITEMS;
    if (full) input.pause();
    else if (input.isPaused()) input.resume();
  }

  /** Counters of items, memory of the process, and whatever the adapter counts. */
  #stats(): Record<string, number> {
    const { rssBytes, peakRssBytes } = this.#parts.memory();
    return { ...this.#items, pending: this.#pending.size, rssBytes, peakRssBytes, ...this.#adapter?.stats() };
  }

  /** Says why, then ends; answers that are gathered go out first, so that finished work is not lost. */
  #fail({ code, message }: FarfieldError, exit: number): void {
    if (this.#state === 'closing') return;
    this.#flush();
    this.#send({ op: 'failed', code, message });
    void this.#close(exit);
  }

  /** The pilot closed the pipe or died: both mean that nobody waits for more. */
  #inputEnded(): void {
    if (this.#state === 'closing') return;
    if (!this.#frames.empty) throw new FarfieldError('E_PROTOCOL', 'the pipe ended inside a frame');
    void this.#close(EXIT.ok);
  }

  /** Cancels what runs, lets the adapter end it, sends the last answers. Entered once. */
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

/** Bytes of the frame's body that belong to this argument. */
function inlineBytes(arg: RunnerArg): number {
  return arg.at === 'inline' ? arg.size : 0;
}

/** What a function throws is its own failure (E_FUNCTION); what the system refuses is named without paths. */
function toFarfield(reason: unknown): FarfieldError {
  if (reason instanceof FarfieldError) return reason;
  if (reason instanceof Error && 'syscall' in reason && 'code' in reason) {
    const full = reason.code === 'ENOSPC' || reason.code === 'EDQUOT';
    return new FarfieldError(
      full ? 'E_DISK_FULL' : 'E_FUNCTION',
      `${String(reason.syscall)} failed: ${String(reason.code)}`,
      {
        cause: reason,
      },
    );
  }
  const text = reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason);
  return new FarfieldError('E_FUNCTION', text.slice(0, 2000), { cause: reason });
}
