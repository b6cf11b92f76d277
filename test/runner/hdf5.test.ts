import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { MAX_CHUNK_BYTES } from '../../runner/limits.ts';
import { failure, library, readAll } from './hdf5-fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-hdf5-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

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
    readAll(path, '/pred', { step: 77 }),
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
  t.match(message, /x\.h5\.part cannot be created/);
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
