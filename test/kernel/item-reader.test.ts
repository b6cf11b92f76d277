import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { digestOf } from '#kernel/ids.ts';
import { openItem } from '#kernel/tokens/item.ts';
import { createItemReader } from '#kernel/tokens/item-reader.ts';

const SEED = 20_261;

function outcome(open: () => unknown): unknown {
  try {
    return open();
  } catch (error) {
    return FarfieldError.from(error).code;
  }
}

const arg = (k: number, over: object = {}): object => ({
  name: 'x',
  type: 'json',
  at: 'inline',
  digest: digestOf(String(k)),
  size: k,
  ...over,
});

t.test('a reader returns for every item what openItem returns', async (t) => {
  const batches: object[][] = [
    Array.from({ length: 50 }, (_, k) => ({ args: [arg(k)] })),
    Array.from({ length: 50 }, (_, k) => ({ args: [arg(k), arg(k + 7, { name: 'y', at: 'blob' })], seed: k * 1000 })),
    Array.from({ length: 50 }, (_, k) => ({
      seed: k,
      args: [{ size: k, digest: digestOf(`${k}`), at: 'blob', type: 'npy', name: 'z' }],
    })),
    Array.from({ length: 50 }, () => ({
      args: [{ name: 'p', type: 'hdf5', at: 'endpoint', path: '/data/(a|b).*[c]$', sel: '/"size":5,' }],
    })),
    Array.from({ length: 50 }, (_, k) => ({
      args: [{ name: 'p', type: 'hdf5', at: 'endpoint', path: `/data/${k}`, digest: digestOf('x') }],
    })),
    Array.from({ length: 50 }, (_, k) => (k % 2 === 0 ? { args: [] } : { args: [arg(k)] })),
    Array.from({ length: 5 }, (_, k) => ({ args: [arg(k, { sel: '/größe' })] })),
  ];
  for (const [b, items] of batches.entries()) {
    const reader = createItemReader();
    for (const [i, item] of items.entries()) {
      const bytes = Buffer.from(JSON.stringify(item));
      const [expected, found] = [openItem(i, bytes), reader.open(i, bytes)];
      if (!isDeepStrictEqual(expected, found)) t.fail(`batch ${b}, item ${i}`);
    }
    t.pass(`batch ${b}`);
  }
});

t.test(`a bent item is judged as openItem judges it, whatever was read before (seed ${SEED})`, async (t) => {
  const random = createSeededRandom(SEED);
  const reader = createItemReader();
  const good = Buffer.from(JSON.stringify({ args: [arg(1234), arg(5, { name: 'y' })], seed: 42 }));
  const texts = [
    good.toString().replace('"size":1234', '"size":1234.5'),
    good.toString().replace('"size":1234', '"size":12e2'),
    good.toString().replace('"size":1234', '"size":01234'),
    good.toString().replace('"size":1234', '"size":-1'),
    good.toString().replace('"size":1234', '"size":99999999999999999999'),
    good.toString().replace('"seed":42', '"seed":42,"seed":43'),
    good.toString().replace('"seed":42', '"seed":42,"lbl":"x"'),
    good.toString().replace(/sha256:./, 'sha256:G'),
    `${good.toString()} `,
    good.toString().replace('{"args"', '{ "args"'),
  ];
  let differing = 0;
  let refused = 0;
  const compare = (bytes: Buffer): void => {
    reader.open(0, good);
    const [expected, found] = [outcome(() => openItem(1, bytes)), outcome(() => reader.open(1, bytes))];
    if (typeof expected === 'string') refused += 1;
    if (!isDeepStrictEqual(expected, found)) differing += 1;
  };
  for (const text of texts) compare(Buffer.from(text));
  for (let k = 0; k < 3000; k += 1) {
    const bytes = Buffer.from(good);
    bytes[Math.floor(random.uniform() * bytes.byteLength)] = Math.floor(random.uniform() * 256);
    compare(bytes);
  }
  t.equal(differing, 0);
  t.ok(refused > 500 && refused < 3010, `${refused} of 3010 were refused`);
});
