import { copyFileSync, existsSync, mkdtempSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import { readableFilters } from '../../runner/hdf5/filters.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { MAX_CHUNK_BYTES } from '../../runner/limits.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/runner/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'farfield-hdf5-'));
t.teardown(() => import('node:fs').then(({ rmSync }) => rmSync(folder, { recursive: true, force: true })));

const loader = createHdf5Loader();
const library = await loader.acquire();

function failure(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason;
    throw reason;
  }
  return { code: 'none', message: 'nothing was thrown' };
}

/** All rows of a data set, read in blocks of `step` rows. */
function readAll(path: string, dataset: string, step = 1000): Float32Array {
  using file = Hdf5File.open(library, path, 'x.h5');
  using data = file.dataset(dataset);
  const bytes = new Uint8Array(data.info.rows * data.info.rowBytes);
  for (let from = 0; from < data.info.rows; from += step) {
    const n = Math.min(step, data.info.rows - from);
    data.readRows(from, n, bytes.subarray(from * data.info.rowBytes, (from + n) * data.info.rowBytes));
  }
  return new Float32Array(bytes.buffer);
}

const expected = Float32Array.from({ length: 32 * 121 }, (_, i) => {
  const [row, y, x] = [Math.floor(i / 121), Math.floor((i % 121) / 11), i % 11];
  return x % 2 === 0 ? row + 10 * y + x : 0;
});

t.test('what the writer wrote block by block, the reader reads back', async (t) => {
  const path = join(folder, 'written.h5');
  {
    using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: true });
    writer.createDataset('/pred', 'f4', [1000, 2]);
    writer.createDataset('/flags', 'u1', [1000]);
    for (let from = 0; from < 1000; from += 300) {
      const n = Math.min(300, 1000 - from);
      const rows = Float32Array.from({ length: n * 2 }, (_, i) => from * 2 + i);
      writer.writeRows('/pred', from, n, new Uint8Array(rows.buffer));
      writer.writeRows('/flags', from, n, new Uint8Array(n).fill(from / 300));
    }
    writer.attribute('/', 'model', 'bragg-nn');
    writer.attribute('/pred', 'scale', 11);
    t.notOk(existsSync(path), 'before the commit nothing has the final name');
    writer.commit();
  }
  t.notOk(existsSync(`${path}.part`));
  t.same(
    readAll(path, '/pred', 77),
    Float32Array.from({ length: 2000 }, (_, i) => i),
  );
});

t.test('a writer that is not committed leaves nothing behind', async (t) => {
  const path = join(folder, 'abandoned.h5');
  {
    using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: false });
    writer.createDataset('/pred', 'f4', [10, 2]);
  }
  t.notOk(existsSync(path));
  t.notOk(existsSync(`${path}.part`));
});

t.test('a folder that cannot be written is an error, not a crash', async (t) => {
  const { code, message } = failure(
    () => new Hdf5Writer(library, join(folder, 'missing', 'x.h5'), { chunkRows: 64, durable: false }),
  );
  t.equal(code, 'E_DISK_FULL');
  t.match(message, /output folder/);
});

t.test('every filter with a built-in or plug-in decoder is read right', async (t) => {
  t.match(readableFilters(library.plugins), ['deflate (gzip)'], 'the list starts with what is built in');
  for (const name of ['patches', 'gzip', 'lzf', 'bitshuffle', 'lz4', 'zstd', 'blosc', 'big_endian']) {
    t.same(readAll(join(FIXTURES, 'filters.h5'), name, 10), expected, name);
  }
});

t.test('an unknown filter is named before anything is read', async (t) => {
  const { code, message } = failure(() => readAll(join(FIXTURES, 'filters.h5'), '/unknown'));
  t.equal(code, 'E_HDF5');
  t.match(message, /x\.h5:\/unknown: filter 32024 .* is not known here; rewrite the data set with gzip/);
});

t.test('a wrong data set path lists the data sets there are', async (t) => {
  const { code, message } = failure(() => readAll(join(FIXTURES, 'filters.h5'), '/entry/data'));
  t.equal(code, 'E_INPUT');
  t.match(message, /there is no such data set; the file holds .*\/patches \[32, 11, 11\]/);
  t.match(failure(() => readAll(join(FIXTURES, 'links.h5'), '/group')).message, /is a group, not a data set/);
  t.match(failure(() => readAll(join(FIXTURES, 'links.h5'), '/dangling')).message, /there is no such data set/);
});

t.test('elements that cannot be converted are refused by name', async (t) => {
  t.match(
    failure(() => readAll(join(FIXTURES, 'filters.h5'), '/half')),
    { code: 'E_INPUT', message: /2-byte float/ },
  );
  t.match(
    failure(() => readAll(join(FIXTURES, 'filters.h5'), '/text')),
    { code: 'E_INPUT', message: /not numbers/ },
  );
});

t.test(
  'no second file is opened: links, external storage and virtual data sets over other files are refused',
  async (t) => {
    const links = join(FIXTURES, 'links.h5');
    t.match(
      failure(() => readAll(links, '/external_link')),
      { code: 'E_HDF5', message: /link into another file/ },
    );
    t.match(
      failure(() => readAll(links, '/external_storage')),
      { code: 'E_HDF5', message: /keeps its data in another file/ },
    );
    t.match(
      failure(() => readAll(links, '/virtual')),
      { code: 'E_HDF5', message: /virtual data set over other files/ },
    );
    t.same(readAll(links, '/own'), expected, 'a virtual data set over the same file is read');
    t.same(readAll(links, '/soft_link'), expected, 'so is a soft link');
  },
);

t.test('a damaged chunk is noticed, and the rest of the file stays readable', async (t) => {
  for (const name of ['gzip', 'fletcher32']) {
    using file = Hdf5File.open(library, join(FIXTURES, `damaged-${name}.h5`), 'x.h5');
    using data = file.dataset('/patches');
    const bytes = new Uint8Array(16 * data.info.rowBytes);
    const found = failure(() => data.readRows(16, 16, bytes));
    t.match(found, { code: 'E_HDF5', message: /rows 16:32 cannot be read: a chunk is damaged/ }, name);
    data.readRows(0, 16, bytes);
    t.same(new Float32Array(bytes.buffer), expected.subarray(0, 16 * 121));
  }
});

t.test('a truncated file, an empty one, and one that is something else are refused', async (t) => {
  const path = join(folder, 'cut.h5');
  copyFileSync(join(FIXTURES, 'filters.h5'), path);
  truncateSync(path, statSync(path).size - 1000);
  t.match(
    failure(() => readAll(path, '/patches')),
    { code: 'E_HDF5', message: /truncated file/ },
  );
  writeFileSync(path, '');
  t.equal(failure(() => readAll(path, '/patches')).code, 'E_HDF5');
  writeFileSync(path, 'x,y\n1,2\n');
  t.match(
    failure(() => readAll(path, '/patches')),
    { code: 'E_HDF5', message: /not a readable HDF5 file/ },
  );
  t.notMatch(failure(() => readAll(join(folder, 'nowhere.h5'), '/patches')).message, folder, 'no path in the message');
});

t.test('a chunk that would not fit the memory promise is refused', async (t) => {
  const path = join(folder, 'big-chunk.h5');
  const rows = Math.ceil(MAX_CHUNK_BYTES / 484) + 1;
  {
    using writer = new Hdf5Writer(library, path, { chunkRows: rows, durable: false });
    writer.createDataset('/patches', 'f4', [rows, 11, 11]);
    writer.commit();
  }
  t.match(
    failure(() => readAll(path, '/patches')),
    { code: 'E_TOO_LARGE', message: /a chunk is inflated whole/ },
  );
});

t.test('a million rows are read in the memory of one block', async (t) => {
  const path = join(folder, 'million.h5');
  {
    using writer = new Hdf5Writer(library, path, { chunkRows: 1024, durable: false });
    // Never written: HDF5 hands out the fill value, so the file is small and the reading is not.
    writer.createDataset('/patches', 'f4', [1_000_000, 11, 11]);
    writer.commit();
  }
  using file = Hdf5File.open(library, path, 'x.h5');
  using data = file.dataset('/patches');
  const block = new Uint8Array(1024 * data.info.rowBytes);
  data.readRows(0, 1024, block);
  const before = process.memoryUsage.rss();
  let sum = 0;
  for (let from = 0; from < 1_000_000; from += 1024) {
    data.readRows(from, Math.min(1024, 1_000_000 - from), block);
    sum += block[0] ?? 0;
  }
  t.equal(sum, 0);
  const grown = process.memoryUsage.rss() - before;
  t.ok(grown < 64 * 2 ** 20, `484 MB were read in ${(grown / 2 ** 20).toFixed(0)} MiB`);
});

t.test('a file with any byte changed is read, or refused with a code: never a crash', async (t) => {
  const original = readFileSync(join(FIXTURES, 'filters.h5'));
  const path = join(folder, 'fuzzed.h5');
  let refused = 0;
  // A library of its own: a trap ends an instance, and this test means to meet some.
  const fuzzed = createHdf5Loader();
  const spots = fc.array(fc.tuple(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 4,
  });
  await fc.assert(
    fc.asyncProperty(spots, fc.constantFrom('patches', 'gzip', 'lzf', 'lz4'), async (changes, dataset) => {
      const bytes = Buffer.from(original);
      // The first 6,000 bytes hold the structures; the rest is mostly data, where a change is only another value.
      for (const [at, flip] of changes) bytes.writeUInt8(bytes.readUInt8(at % 6000) ^ flip, at % 6000);
      writeFileSync(path, bytes);
      const current = await fuzzed.acquire().catch((reason: FarfieldError) => {
        if (reason.code !== 'E_HDF5') throw reason;
        return undefined;
      });
      if (current === undefined) return;
      const { code } = failure(() => {
        using file = Hdf5File.open(current, path, 'x.h5');
        using data = file.dataset(dataset);
        const target = new Uint8Array(Math.min(data.info.rows, 32) * data.info.rowBytes);
        data.readRows(0, Math.min(data.info.rows, 32), target);
      });
      if (code !== 'none') refused++;
    }),
    { numRuns: 300, seed: 11 },
  );
  t.ok(refused > 20, `${refused} of 300 damaged files were refused`);
});
