import fc from 'fast-check';
import t from 'tap';
import { createPipeReader, encodePipeFrame, MAX_HEADER_BYTES, PREFIX_BYTES } from '#base/pipe-frames.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { RUNNER_MAX_HEADER_BYTES, RUNNER_PREFIX_BYTES } from '#protos/runner.ts';

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason.code;
    throw reason;
  }
  return 'none';
};

t.test('the codec has the sizes of the contract', async (t) => {
  t.equal(PREFIX_BYTES, RUNNER_PREFIX_BYTES);
  t.equal(MAX_HEADER_BYTES, RUNNER_MAX_HEADER_BYTES);
});

t.test('frames come out whole however the bytes were cut', async () => {
  const frames = fc.array(fc.tuple(fc.jsonValue(), fc.uint8Array({ maxLength: 300 })), { minLength: 1, maxLength: 8 });
  const cuts = fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(frames, cuts, (sent, sizes) => {
      const wire = Buffer.concat(sent.map(([header, body]) => encodePipeFrame({ header }, [body])));
      const reader = createPipeReader();
      const found: (readonly [unknown, number[]])[] = [];
      for (let at = 0, i = 0; at < wire.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        for (const { header, body } of reader.push(wire.subarray(at, at + size))) found.push([header, [...body]]);
        at += size;
      }
      const expected = sent.map(([header, body]) => [JSON.parse(JSON.stringify({ header })), [...body]]);
      return reader.empty && JSON.stringify(found) === JSON.stringify(expected);
    }),
    { numRuns: 200, seed: 20260101 },
  );
});

t.test('a chunk with many frames gives all of them, and keeps the start of the next', async (t) => {
  const one = encodePipeFrame({ op: 'stats' });
  const reader = createPipeReader();
  const chunk = Buffer.concat([one, one, one, one.subarray(0, 5)]);
  t.equal(reader.push(chunk).length, 3);
  t.equal(reader.empty, false);
  t.equal(reader.push(one.subarray(5)).length, 1);
  t.equal(reader.empty, true);
});

t.test('lengths that no frame has are refused before they are allocated', async (t) => {
  const prefix = (header: number, body: bigint): Buffer => {
    const bytes = Buffer.alloc(PREFIX_BYTES);
    bytes.writeUInt32LE(header, 0);
    bytes.writeBigUInt64LE(body, 4);
    return bytes;
  };
  t.equal(
    codeOf(() => createPipeReader().push(prefix(0, 0n))),
    'E_PROTOCOL',
  );
  t.equal(
    codeOf(() => createPipeReader().push(prefix(MAX_HEADER_BYTES + 1, 0n))),
    'E_PROTOCOL',
  );
  t.equal(
    codeOf(() => createPipeReader().push(prefix(10, 2n ** 63n))),
    'E_PROTOCOL',
  );
  t.equal(
    codeOf(() => createPipeReader().push(Buffer.from('a print from a library\n'))),
    'E_PROTOCOL',
  );
});

t.test('a header that is not JSON, or not UTF-8, is refused', async (t) => {
  const frame = (header: Buffer): Buffer => {
    const bytes = Buffer.alloc(PREFIX_BYTES + header.length);
    bytes.writeUInt32LE(header.length, 0);
    header.copy(bytes, PREFIX_BYTES);
    return bytes;
  };
  t.equal(
    codeOf(() => createPipeReader().push(frame(Buffer.from('{"op":')))),
    'E_PROTOCOL',
  );
  t.equal(
    codeOf(() => createPipeReader().push(frame(Buffer.from([0x22, 0xff, 0xfe, 0x22])))),
    'E_PROTOCOL',
  );
});

t.test('large bodies come out whole and in order, however the bytes are cut', async (t) => {
  const seed = 'pipe frames';
  t.comment(`seed: ${seed}`);
  const random = createSeededRandom(seed);
  const sizes = Array.from({ length: 60 }, () => Math.floor(random.uniform() * 5000));
  const bytes = Buffer.concat(sizes.map((size, no) => encodePipeFrame({ no }, [Buffer.alloc(size, no)])));
  const reader = createPipeReader();
  const read = [];
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + Math.floor(random.uniform() ** 3 * 9000);
    read.push(...reader.push(bytes.subarray(at, at + length)));
    at += length;
  }
  t.strictSame(
    read.map(({ header, body }) => [header, body.length, body.every((byte) => byte === (header as { no: number }).no)]),
    sizes.map((size, no) => [{ no }, size, true]),
  );
});

t.test('garbage is refused by its first bytes, before anything is allocated', async (t) => {
  for (const text of ['Warning: something went wrong\n', '\u0000'.repeat(12), '\u00ff'.repeat(12)]) {
    t.throws(() => createPipeReader().push(Buffer.from(text, 'latin1')), { code: 'E_PROTOCOL' });
  }
  const broken = encodePipeFrame({ op: 'done' });
  broken[12] = 0x7f;
  t.throws(() => createPipeReader().push(broken), { code: 'E_PROTOCOL' });
});
