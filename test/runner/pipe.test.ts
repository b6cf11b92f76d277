import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { encodePipeFrame } from '#base/pipe-frames.ts';
import type { RunnerRequest } from '#protos/runner.ts';
import type { Call, CallAdapter, CallResult } from '../../runner/adapters/adapter.ts';
import { EXIT } from '../../runner/exits.ts';
import { runPipe } from '../../runner/pipe.ts';
import { inline, item, startRunner } from './client.ts';

/** What noop promises, computed apart from it. */
function noopAnswer(bytes: Uint8Array, size: number): Buffer {
  const digest = createHash('sha256').update(bytes).digest();
  const blocks: Buffer[] = [];
  for (let i = 0; i * 32 < size; i++) {
    blocks.push(
      createHash('sha256')
        .update(digest)
        .update(Buffer.from([0, 0, 0, i]))
        .digest(),
    );
  }
  return Buffer.concat(blocks).subarray(0, size);
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const fault = (value: unknown) => [inline('do', 'json', json(value))];

t.test('noop answers bytes that belong to the arguments, many items a frame', async (t) => {
  await using runner = startRunner();
  t.match(await runner.load('noop', { entry: { outBytes: 77 } }), { op: 'ready' });
  const inputs = Array.from({ length: 300 }, () => randomBytes(1024));
  const items = inputs.map((bytes, i) => item({ id: `i${i}`, args: [inline('x', 'bytes', bytes)] }));
  runner.send({ op: 'run', items }, inputs);
  const answers = await Promise.all(items.map(({ id }) => runner.answer(id)));
  t.ok(answers.every(({ bytes }, i) => noopAnswer(inputs[i] as Buffer, 77).equals(bytes)));
  t.ok(runner.frameCount() < 20, `300 answers came in ${runner.frameCount()} frames`);
});

t.test('a print of the function goes to the log and never onto the frame pipe', async (t) => {
  await using runner = startRunner();
  await runner.load('fake');
  const body = json({ do: 'print', text: 'hello from the function' });
  const { done } = await runner.call({ id: 'p', args: fault({ do: 'print', text: 'hello from the function' }) }, [
    body,
  ]);
  t.equal(done.status, 'succeeded');
  // The log is another pipe: it is whole when the runner has ended.
  runner.child.stdin?.end();
  await runner.exit;
  t.match(runner.stderr(), /hello from the function/);
});

t.test('whatever a function does, its item is answered once and the others go on', async (t) => {
  await using runner = startRunner();
  await runner.load('fake');
  const faults = [
    { do: 'throw', text: 'boom' },
    { do: 'reject', text: 'no' },
    { do: 'nonsense' },
    { do: 'echo', text: 'still here' },
  ];
  const bodies = faults.map(json);
  runner.send({ op: 'run', items: faults.map((f, i) => item({ id: `f${i}`, args: fault(f) })) }, bodies);
  const [thrown, refused, unknown, fine] = await Promise.all(faults.map((_, i) => runner.answer(`f${i}`)));
  t.match(thrown?.done, { status: 'failed', error: { code: 'E_FUNCTION', message: 'Error: boom' } });
  t.match(refused?.done, { status: 'failed', error: { code: 'E_FUNCTION', message: 'no' } });
  t.match(unknown?.done, { status: 'failed', error: { code: 'E_INPUT' } });
  t.equal(Buffer.from(fine?.bytes ?? []).toString(), 'still here');
  // The log is another pipe: it is whole when the runner has ended.
  runner.child.stdin?.end();
  await runner.exit;
  t.match(runner.stderr(), /boom/, 'the stack is in the log');
  t.notMatch(JSON.stringify(thrown?.done), /fake\.ts/, 'and not in the answer');
});

t.test('a cancel ends a waiting item at once, and is nothing to one that is done', async (t) => {
  await using runner = startRunner();
  await runner.load('fake');
  const long = { do: 'sleep', ms: 60_000 };
  runner.send({ op: 'run', items: [item({ id: 'long', args: fault(long) })] }, [json(long)]);
  runner.send({ op: 'cancel', ids: ['long', 'never-seen'] });
  t.match((await runner.answer('long')).done, { status: 'cancelled', error: { code: 'E_CANCELLED' } });
  const echo = { do: 'echo' };
  await runner.call({ id: 'e', args: fault(echo) }, [json(echo)]);
  runner.send({ op: 'cancel', ids: ['e', 'long'] });
  runner.send({ op: 'stats' });
  t.match(await runner.reply('stats'), { stats: { succeeded: 1, cancelled: 1, failed: 0, pending: 0 } });
});

t.test('a result over the limit of its item is a failure with a size in it', async (t) => {
  await using runner = startRunner();
  await runner.load('noop', { entry: { outBytes: 5000 } });
  const { done } = await runner.call({ id: 'big', args: [inline('x', 'bytes', Buffer.alloc(1))], maxBytes: 4999 }, [
    Buffer.alloc(1),
  ]);
  t.match(done, {
    status: 'failed',
    error: { code: 'E_RESULT_TOO_LARGE', message: /5000 bytes, over the limit of 4999/ },
  });
});

t.test('anything that the protocol does not know ends the runner with E_PROTOCOL', async (t) => {
  const run = { op: 'run', items: [] };
  const cases: readonly (readonly [string, unknown[], Uint8Array[]])[] = [
    ['an unknown op', [{ op: 'jump' }], []],
    ['an unknown key', [{ op: 'stats', verbose: true }], []],
    ['a second load', [{ op: 'load', adapter: 'noop', threads: 1, scratchDir: '/' }], []],
    ['a body that belongs to nothing', [run], [Buffer.from('stray')]],
    ['a body with a cancel', [{ op: 'cancel', ids: [] }], [Buffer.from('stray')]],
  ];
  for (const [what, requests, body] of cases) {
    const runner = startRunner();
    await runner.load('noop');
    for (const request of requests) runner.send(request as RunnerRequest, body);
    t.match(await runner.reply('failed'), { code: 'E_PROTOCOL' }, what);
    t.equal(await runner.exit, EXIT.protocol, what);
  }
  const early = startRunner();
  early.send({ op: 'run', items: [] });
  t.match(await early.reply('failed'), { code: 'E_PROTOCOL', message: /before ready/ });
  t.equal(await early.exit, EXIT.protocol);
  const garbage = startRunner();
  garbage.write(Buffer.from('Warning: a library that prints\n'));
  t.equal(await garbage.exit, EXIT.protocol);
});

t.test('what cannot be loaded is said in `failed`, and the runner exits', async (t) => {
  for (const [adapter, more, code] of [
    ['fake', { entry: { failLoad: true } }, 'E_MODEL'],
    ['tensorflow', {}, 'E_VARIANT_INCOMPATIBLE'],
    ['noop', { entry: { outBytes: -1 } }, 'E_MANIFEST'],
    ['ort', {}, 'E_MODEL'],
    ['ort', { modelRoot: '/nowhere' }, 'E_MODEL'],
  ] as const) {
    const runner = startRunner();
    t.match(await runner.load(adapter, more), { op: 'failed', code }, adapter);
    t.equal(await runner.exit, EXIT.load);
  }
});

t.test('a runner ends with its pilot, and when asked to', async (t) => {
  const orphan = startRunner();
  await orphan.load('fake');
  const long = { do: 'sleep', ms: 60_000 };
  orphan.send({ op: 'run', items: [item({ id: 'long', args: fault(long) })] }, [json(long)]);
  orphan.child.stdin?.end();
  t.equal(await orphan.exit, EXIT.ok);
  t.match(orphan.answers.get('long')?.done, { status: 'cancelled' });
  const closed = startRunner();
  await closed.load('noop');
  closed.send({ op: 'close' });
  t.equal(await closed.exit, EXIT.ok);
});

t.test('commands have documented exit codes', async (t) => {
  for (const args of [[], ['jump'], ['describe'], ['pipe', 'extra'], ['describe', '--model', 'x', '--wrong']]) {
    const runner = startRunner(args);
    runner.child.stdout?.removeAllListeners('data').resume();
    t.equal(await runner.exit, EXIT.usage, args.join(' ') || 'no arguments');
    t.match(runner.stderr(), /farfield-runner VERB --help/);
  }
});

/** The loop with both ends in this process, and an adapter that ends calls when told to. */
function inMemory(infer: (call: Call) => CallResult | Promise<CallResult>) {
  const input = new PassThrough();
  const output = new PassThrough({ highWaterMark: 1024 });
  const adapter: CallAdapter = {
    probe: async () => ({ adapter: 'test', devices: [], versions: {} }),
    load: async () => ({}),
    infer,
    stats: () => ({}),
    close: async () => {},
  };
  const ended = runPipe({
    input,
    output,
    clock: createManualClock(),
    createAdapter: () => adapter,
    log: () => {},
    memory: () => ({ rssBytes: 0, peakRssBytes: 0 }),
  });
  const send = (header: unknown, body: Uint8Array[] = []): void => {
    input.write(encodePipeFrame(header, body));
  };
  return { input, output, send, ended };
}

const bytes = (size: number): CallResult => ({ type: 'bytes', value: { at: 'inline', bytes: Buffer.alloc(size) } });

t.test('the runner stops reading while its answers are not read, and goes on after', async (t) => {
  let calls = 0;
  const { input, output, send, ended } = inMemory(() => {
    calls++;
    return bytes(4096);
  });
  send({ op: 'load', adapter: 'x', threads: 1, scratchDir: '/' });
  await once(output, 'readable');
  for (let i = 0; i < 50; i++) {
    send({ op: 'run', items: [item({ id: `a${i}` })] });
    await sleep(1);
  }
  t.ok(input.isPaused(), 'nobody reads, so the runner does not either');
  t.ok(calls < 50, `${calls} of 50 items were taken`);
  output.resume();
  while (calls < 50) await sleep(1);
  t.equal(calls, 50, 'all were taken once somebody read');
  input.end();
  t.equal(await ended, EXIT.ok);
});

t.test('an item may not be running twice', async (t) => {
  const { output, send, ended } = inMemory(() => new Promise(() => {}));
  output.resume();
  send({ op: 'load', adapter: 'x', threads: 1, scratchDir: '/' });
  await sleep(5);
  send({ op: 'run', items: [item({ id: 'a' })] });
  send({ op: 'run', items: [item({ id: 'a' })] });
  t.equal(await ended, EXIT.protocol);
});
