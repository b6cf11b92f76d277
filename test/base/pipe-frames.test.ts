import t from 'tap';
import { createPipeReader, encodePipeFrame } from '#base/pipe-frames.ts';
import { createSeededRandom } from '#base/random.ts';
import { encodeFrame, FrameReader } from '../../runner/frames.ts';

const frame = encodePipeFrame({ op: 'done', n: 1 }, [Buffer.from('abc'), Buffer.alloc(0), Buffer.from('def')]);

t.test('a frame is what the runner’s codec reads and writes, byte for byte', async (t) => {
  t.strictSame(Buffer.concat(encodeFrame({ op: 'done', n: 1 }, [Buffer.from('abcdef')])), frame);
  const [read] = new FrameReader().push(frame);
  t.match(read, { header: { op: 'done', n: 1 } });
  t.equal(Buffer.from(read?.body ?? []).toString(), 'abcdef');
});

t.test('frames come out whole and in order, however the bytes are cut', async (t) => {
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
  const broken = Buffer.from(frame);
  broken[12] = 0x7f;
  t.throws(() => createPipeReader().push(broken), { code: 'E_PROTOCOL' });
});
