/**
 * What every transport promises (base/link/seam.ts), as one suite. A transport passes it or is none.
 */

import type { Test } from 'tap';
import type { Acceptor, Dialler, Link } from '#base/link/seam.ts';
import { SEND_HIGH_BYTES } from '#base/link/seam.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';

export interface Bench extends AsyncDisposable {
  readonly acceptor: Acceptor;
  readonly dialler: Dialler;
  /** Cuts every connection without a goodbye, as a dead peer's kernel would. */
  cut(): void;
  /** Opens a connection that sends what is no link; resolves when the acceptor has ended it. Absent where there are no bytes. */
  garbage?(): Promise<void>;
}

interface Pair {
  readonly a: Link;
  readonly b: Link;
}

const quiet = new AbortController().signal;

/** A frame that says its number and its own length, so that mixing and truncation both show. */
export function frameOf(no: number, bytes: number): Buffer {
  const frame = Buffer.alloc(bytes, no & 0xff);
  frame.writeUInt32BE(no, 0);
  frame.writeUInt32BE(bytes, 4);
  return frame;
}

export function readFrame(frame: Uint8Array): number {
  const view = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.readUInt32BE(4) !== view.length)
    throw new Error(`a frame of ${view.length} bytes says ${view.readUInt32BE(4)}`);
  if (view.subarray(8).some((byte) => byte !== (view.readUInt32BE(0) & 0xff)))
    throw new Error('a frame holds bytes of another');
  return view.readUInt32BE(0);
}

async function pairOf(bench: Bench, accepted: AsyncIterator<Link>): Promise<Pair> {
  const [a, b] = await Promise.all([bench.dialler.dial(quiet), nextLive(accepted)]);
  return { a, b };
}

/** The next link that has not ended yet: noise on a Unix socket is a link, too, until its first bytes are read. */
async function nextLive(accepted: AsyncIterator<Link>): Promise<Link> {
  for (;;) {
    const next = await accepted.next();
    if (next.done === true) throw new Error('the acceptor ended');
    const alive = new Promise((resolve) => setImmediate(() => resolve(true)));
    if (await Promise.race([next.value.closed.then(() => false), alive])) return next.value;
  }
}

async function readUntil(link: Link, count: number): Promise<number[]> {
  const numbers: number[] = [];
  for await (const frame of link.frames) {
    numbers.push(readFrame(frame));
    if (numbers.length === count) break;
  }
  return numbers;
}

/** Turns of the event loop until `true`; fails after about ten seconds of turns with the sentence. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let turn = 0; turn < 2000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never happened: ${what}`);
}

function orderTests(t: Test, open: () => Promise<Pair>): void {
  t.test('frames of both directions arrive in order, none lost, none twice', async (t) => {
    const { a, b } = await open();
    const sizes = [8, 100, 9, 70_000, 8, 1000, MAX_FRAME_BYTES, 16, 65_536, 4096];
    const count = 200;
    const send = async (link: Link): Promise<void> => {
      for (let no = 0; no < count; no += 1) {
        if (!link.send(frameOf(no, sizes[no % sizes.length] ?? 8))) await link.writable();
      }
    };
    const expected = Array.from({ length: count }, (_, no) => no);
    const [, , atB, atA] = await Promise.all([send(a), send(b), readUntil(b, count), readUntil(a, count)]);
    t.strictSame(atB, expected);
    t.strictSame(atA, expected);
    a.close();
  });

  t.test('frames that were sent before a clean end arrive before it', async (t) => {
    const { a, b } = await open();
    for (let no = 0; no < 50; no += 1) a.send(frameOf(no, 3000));
    a.close('enough');
    t.equal((await readUntil(b, 51)).length, 50);
    t.match(await b.closed, { clean: true, reason: 'enough' });
  });

  t.test('a second reader of the same frames is refused', async (t) => {
    const { a } = await open();
    a.frames[Symbol.asyncIterator]();
    t.throws(() => a.frames[Symbol.asyncIterator]());
    a.close();
  });
}

function pressureTests(t: Test, open: () => Promise<Pair>): void {
  t.test('a sender is told to wait while its peer does not read, and goes on when it does', async (t) => {
    const { a, b } = await open();
    let sent = 0;
    // Well above everything that socket buffers, windows and the receiver's mark can swallow.
    const limit = 96;
    let blocked: Promise<void> | undefined;
    while (blocked === undefined && sent < limit) {
      sent += 1;
      if (a.send(frameOf(sent, MAX_FRAME_BYTES))) continue;
      // What can still leave does so meanwhile: only what nobody takes counts.
      const waiting = a.writable();
      const moved = await Promise.race([waiting.then(() => true), new Promise((resolve) => setTimeout(resolve, 100))]);
      if (moved !== true) blocked = waiting;
    }
    t.ok(blocked !== undefined, `asked to wait after ${sent} MiB`);
    const read = readUntil(b, sent);
    await blocked;
    t.strictSame((await read).length, sent, 'nothing of it was lost');
    a.close();
  });

  t.test('send says false above the high-water mark and not below', async (t) => {
    const { a, b } = await open();
    const size = 128 * 1024;
    let answer = true;
    let bytes = 0;
    while (answer) {
      answer = a.send(frameOf(0, size));
      bytes += size;
    }
    t.ok(bytes > SEND_HIGH_BYTES, 'the mark was passed');
    t.ok(bytes <= SEND_HIGH_BYTES + size, 'and not by more than a frame');
    const reading = readUntil(b, bytes / size);
    await a.writable();
    t.ok(a.send(frameOf(1, 8)));
    await reading;
    a.close();
  });
}

function endTests(t: Test, bench: () => Bench, open: () => Promise<Pair>): void {
  for (const side of ['a', 'b'] as const) {
    t.test(`the reason of a close by the ${side === 'a' ? 'dialler' : 'acceptor'} reaches both sides`, async (t) => {
      const pair = await open();
      const other = side === 'a' ? pair.b : pair.a;
      pair[side].close('E_FENCED');
      t.strictSame(await pair[side].closed, { clean: true, reason: 'E_FENCED' });
      t.strictSame(await other.closed, { clean: true, reason: 'E_FENCED' });
      pair[side].close('again');
      t.equal(other.send(frameOf(1, 8)), false, 'a frame after the end is lost, without an exception');
      await other.writable();
    });
  }

  t.test('a peer that dies ends the link uncleanly, wakes who waits to write, and ends the iteration', async (t) => {
    const { a, b } = await open();
    while (a.send(frameOf(0, MAX_FRAME_BYTES)));
    const waiting = a.writable();
    bench().cut();
    t.equal((await a.closed).clean, false);
    t.equal((await b.closed).clean, false);
    await waiting;
    for await (const _ of a.frames);
    t.ok((await a.closed).reason.length > 0, 'and it says what happened');
  });

  t.test('an over-long frame and an empty one are refused at the sender, and the link lives on', async (t) => {
    const { a, b } = await open();
    t.throws(() => a.send(Buffer.alloc(MAX_FRAME_BYTES + 1)), { code: 'E_TOO_LARGE' });
    t.throws(() => a.send(new Uint8Array(0)), { code: 'E_PROTOCOL' });
    a.send(frameOf(7, MAX_FRAME_BYTES));
    t.strictSame(await readUntil(b, 1), [7]);
    a.close();
  });
}

export function conformance(t: Test, name: string, openBench: () => Promise<Bench>): void {
  t.test(name, async (t) => {
    const bench = await openBench();
    const accepted = bench.acceptor.links[Symbol.asyncIterator]();
    const open = (): Promise<Pair> => pairOf(bench, accepted);
    t.test('order', async (t) => orderTests(t, open));
    t.test('back-pressure', async (t) => pressureTests(t, open));
    t.test('ends', async (t) => endTests(t, () => bench, open));
    t.test('what is no link is cut off, and others live on', async (t) => {
      const { a, b } = await open();
      await bench.garbage?.();
      a.send(frameOf(3, 8));
      t.strictSame(await readUntil(b, 1), [3]);
      a.close();
    });
    t.test('a dial that is given up rejects', async (t) => {
      await t.rejects(bench.dialler.dial(AbortSignal.abort()), { code: 'E_UNAVAILABLE' });
    });
    t.test('after the acceptor is gone its links are ended and a dial is refused', async (t) => {
      const { a } = await open();
      await bench.acceptor[Symbol.asyncDispose]();
      t.equal((await a.closed).clean, true);
      await bench[Symbol.asyncDispose]();
      await t.rejects(bench.dialler.dial(quiet), { code: 'E_UNAVAILABLE' });
    });
  });
}
