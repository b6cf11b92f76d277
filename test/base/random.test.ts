import t from 'tap';
import { createSeededRandom, systemRandom } from '#base/random.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

t.test('one seed gives one sequence, and neighbouring seeds share nothing', async (t) => {
  const draw = (seed: number | string): string => hex(createSeededRandom(seed).bytes(64));
  t.equal(draw(1), draw(1));
  t.not(draw(1), draw(2));
  t.not(draw('a'), draw('b'));
  t.equal(createSeededRandom(7).uniform(), createSeededRandom(7).uniform());
});

for (const [name, random] of [
  ['seeded', createSeededRandom(20260101)],
  ['system', systemRandom],
] as const) {
  t.test(`the ${name} source is even enough to simulate with`, async (t) => {
    const n = 20_000;
    const buckets = new Array<number>(10).fill(0);
    for (let i = 0; i < n; i++) {
      const value = random.uniform();
      if (value < 0 || value >= 1) t.fail(`${value} is outside [0, 1)`);
      buckets[Math.floor(value * 10)] = (buckets[Math.floor(value * 10)] ?? 0) + 1;
    }
    // Six standard deviations of a bucket of 2,000: a fair source fails this once in a hundred million runs.
    const bound = 6 * Math.sqrt(n * 0.1 * 0.9);
    t.ok(
      buckets.every((count) => Math.abs(count - n / 10) < bound),
      buckets.join(' '),
    );
  });

  t.test(`the ${name} source gives as many bytes as asked, and never the same twice`, async (t) => {
    t.strictSame(
      [0, 1, 3, 16, 9000].map((size) => random.bytes(size).byteLength),
      [0, 1, 3, 16, 9000],
    );
    const drawn = new Set(Array.from({ length: 5000 }, () => hex(random.bytes(16))));
    t.equal(drawn.size, 5000);
  });
}
