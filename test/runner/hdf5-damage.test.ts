import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import t from 'tap';
import { lookup3 } from '../../runner/hdf5/bytes.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { FIXTURES, failure, library, patches, readAll } from './hdf5-fixtures.ts';
import { chunkTable, fuzz } from './hdf5-mutations.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-damage-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const PATH = join(folder, 'x.h5');

/** The error of reading a data set from changed bytes. */
function broken(bytes: Uint8Array, dataset: string): { readonly code: string; readonly message: string } {
  writeFileSync(PATH, bytes);
  return failure(() => readAll(PATH, dataset));
}

function fixture(name: string): Buffer {
  return readFileSync(join(FIXTURES, name));
}

/** What the index of a data set of the oldest format says of each chunk, and where it says so. */
interface Listed {
  /** Place of the key: length, mask, offsets, and behind them the address. */
  readonly key: number;
  readonly bytes: number;
  readonly at: number;
}

/** The second chunk of /gzip, rows 16 to 32: its key is the second of the only leaf. */
function gzipChunk(): Listed {
  const { index, table } = chunkTable(library, join(FIXTURES, 'filters.h5'), 'gzip');
  const found = table.find(1);
  if (found === undefined) throw new Error('no such chunk');
  return { key: index + 24 + 48, bytes: found.bytes, at: found.at };
}

t.test('one bit of a chunk flipped is an error with file, data set and chunk, and the rest is read', async (t) => {
  const bytes = fixture('filters.h5');
  const { at, bytes: length } = gzipChunk();
  bytes.writeUInt8(bytes.readUInt8(at + (length >> 1)) ^ 4, at + (length >> 1));
  t.match(broken(bytes, 'gzip'), {
    code: 'E_HDF5',
    message: /^x\.h5:\/gzip: chunk \(16, 0, 0\) cannot be read: a chunk is damaged or cut off \(deflate \(gzip\): /,
  });
  using file = Hdf5File.open(library, PATH, 'x.h5');
  using data = file.dataset('gzip');
  const target = new Uint8Array(16 * 484);
  data.readRows(0, 16, target);
  t.same([...new Float32Array(target.buffer)], patches().slice(0, 16 * 121));
});

t.test('a checksum that does not match is an error: Fletcher32 over plain bytes and over gzip', async (t) => {
  const bytes = fixture('filters.h5');
  const chunk = Buffer.from(Float32Array.from(patches().slice(16 * 121, 32 * 121)).buffer);
  let changed = 0;
  for (let at = bytes.indexOf(chunk); at >= 0; at = bytes.indexOf(chunk, at + 1)) {
    bytes.writeUInt8(1, at + 3);
    changed++;
  }
  t.ok(changed > 0);
  t.match(broken(bytes, 'fletcher32'), {
    code: 'E_HDF5',
    message: /^x\.h5:\/fletcher32: chunk \(16, 0, 0\) .*fletcher32: the checksum does not match/,
  });
});

t.test('an index that lies is found when the data set is opened', async (t) => {
  const original = fixture('filters.h5');
  const { key, bytes: length, at } = gzipChunk();
  const open = (change: (bytes: Buffer) => void): { readonly code: string; readonly message: string } => {
    const bytes = Buffer.from(original);
    change(bytes);
    writeFileSync(PATH, bytes);
    return failure(() => {
      using file = Hdf5File.open(library, PATH, 'x.h5');
      file.dataset('gzip');
    });
  };
  const cases: readonly (readonly [string, (bytes: Buffer) => void, RegExp])[] = [
    [
      'a chunk beyond the file',
      (b) => b.writeBigUInt64LE(2n ** 40n, key + 40),
      /chunk \(16, 0, 0\) would lie at bytes/,
    ],
    ['a chunk at the end of numbers', (b) => b.writeBigUInt64LE(2n ** 63n, key + 40), /impossibly large/],
    ['a chunk nowhere', (b) => b.fill(255, key + 40, key + 48), /index is unreadable/],
    ['a chunk in another one', (b) => b.writeBigUInt64LE(BigInt(at - 8), key + 40), /two chunks claim/],
    ['a length of 4 GiB', (b) => b.writeUInt32LE(0xffffffff, key), /is said to take 4294967295 bytes/],
    ['no length', (b) => b.writeUInt32LE(0, key), /is said to take 0 bytes/],
    ['a length over the next', (b) => b.writeUInt32LE(length + 500, key), /two chunks claim|would lie/],
    ['a filter left out that there is not', (b) => b.writeUInt32LE(2, key + 4), /without filter/],
    ['a row between chunks', (b) => b.writeBigUInt64LE(17n, key + 8), /a chunk is said to begin at \(17, 0, 0\)/],
    ['a row of another chunk', (b) => b.writeBigUInt64LE(0n, key + 8), /out of order|there twice/],
    ['a row behind the end', (b) => b.writeBigUInt64LE(48n, key + 8), /out of order|outside the data set/],
    ['a column behind the end', (b) => b.writeBigUInt64LE(11n, key + 16), /outside the data set/],
    ['part of an element', (b) => b.writeBigUInt64LE(4n, key + 32), /index is unreadable/],
  ];
  for (const [name, change, said] of cases) {
    const found = open(change);
    t.match(found, { code: 'E_HDF5', message: said }, name);
    t.match(found.message, /^x\.h5:\/gzip: /);
  }
  t.equal(open((b) => b.writeUInt32LE(length - 3, key)).code, 'none', 'a shorter length is possible');
  t.match(
    failure(() => readAll(PATH, 'gzip')),
    { code: 'E_HDF5', message: /chunk \(16, 0, 0\).*gzip/ },
    'until it is read',
  );
  open((b) => b.writeUInt32LE(1, key + 4));
  t.match(
    failure(() => readAll(PATH, 'gzip')),
    { code: 'E_HDF5', message: /chunk \(16, 0, 0\) .*bytes came out for 7744/ },
    'gzip said to be left out: the compressed bytes are no values',
  );
});

t.test('a chunk that inflates to more than a chunk is stopped there', async (t) => {
  const bytes = fixture('filters.h5');
  const { key, at } = gzipChunk();
  const bomb = deflateSync(new Uint8Array(64 * 2 ** 20));
  // At the end of the file, which says so in its superblock; 65 KB is a length that the index may say.
  const grown = Buffer.concat([bytes, bomb]);
  grown.writeBigUInt64LE(BigInt(bytes.length), key + 40);
  grown.writeUInt32LE(bomb.length, key);
  grown.writeBigUInt64LE(BigInt(grown.length), 40);
  t.ok(bomb.length < 70_000 && at > 0);
  const before = process.memoryUsage().rss;
  t.match(broken(grown, 'gzip'), { code: 'E_HDF5', message: /chunk \(16, 0, 0\) .*inflates to more than 7744 bytes/ });
  t.ok(process.memoryUsage().rss - before < 32 * 2 ** 20, 'without making 64 MB of it');
});

t.test('every filter stops at a head that promises another size', async (t) => {
  const original = fixture('filters.h5');
  const change = (find: Buffer, put: (bytes: Buffer, at: number) => void): Buffer => {
    const bytes = Buffer.from(original);
    for (let at = bytes.indexOf(find); at >= 0; at = bytes.indexOf(find, at + 1)) put(bytes, at);
    return bytes;
  };
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(7744n);
  for (const dataset of ['lz4', 'lz4_blocks', 'bitshuffle_lz4', 'bitshuffle_zstd']) {
    const bytes = change(size, (b, at) => b.writeBigUInt64BE(2n ** 50n, at));
    t.match(
      broken(bytes, dataset),
      { code: 'E_HDF5', message: /says that 11258999\d+ bytes come out, not 7744/ },
      dataset,
    );
  }
  const blosc = Buffer.alloc(4);
  blosc.writeUInt32LE(7744);
  for (const dataset of ['blosc_lz4', 'blosc_zstd', 'blosc_zlib', 'blosc_blosclz']) {
    const bytes = change(blosc, (b, at) => {
      if (b[at - 4] === 2 && b[at - 1] === 4) b.writeUInt32LE(2 ** 31 - 1, at);
    });
    t.match(broken(bytes, dataset), { code: 'E_HDF5', message: /blosc: says that 2147483647 bytes/ }, dataset);
  }
});

t.test('newer files: any change of a structure fails its checksum', { timeout: 120_000 }, async (t) => {
  const original = fixture('latest.h5');
  for (const signature of ['OHDR', 'FAHD', 'FADB', 'EAHD', 'EAIB', 'EADB', 'EASB', 'BTHD', 'BTLF', 'BTIN']) {
    let refused = 0;
    for (let at = original.indexOf(signature); at >= 0; at = original.indexOf(signature, at + 1)) {
      const bytes = Buffer.from(original);
      bytes.writeUInt8(bytes.readUInt8(at + 9) ^ 16, at + 9);
      writeFileSync(PATH, bytes);
      for (const dataset of ['fixed_gzip', 'extensible_gzip', 'extensible_many', 'free_gzip']) {
        const { code } = failure(() => {
          const values = readAll(PATH, dataset, { step: 500 });
          if (dataset === 'extensible_many') t.same([...values.slice(-2)], [4198, 4199]);
          else t.same([...values], patches());
        });
        if (code !== 'none') refused++;
      }
    }
    t.ok(refused > 0, `${signature}: ${refused} refused`);
  }
  t.equal(lookup3(Buffer.from('Four score and seven years ago')), 0x17770551, 'the checksum is the published one');
});

t.test('cut off anywhere, a file is refused; so is an empty one, and one that is something else', async (t) => {
  const original = fixture('filters.h5');
  for (const part of [0.999, 0.9, 0.5, 0.1, 0.001]) {
    const cut = original.subarray(0, Math.floor(original.length * part));
    t.match(broken(cut, 'gzip'), { code: 'E_HDF5', message: /^x\.h5: not a readable HDF5 file/ }, `${part}`);
  }
  t.match(broken(original.subarray(0, -1), 'gzip').message, /truncated file/);
  t.equal(broken(new Uint8Array(0), 'gzip').code, 'E_HDF5');
  t.equal(broken(Buffer.from('x,y\n1,2\n'), 'gzip').code, 'E_HDF5');
  t.equal(broken(new Uint8Array(100_000), 'gzip').code, 'E_HDF5');
});

t.test('a superblock that is wrong is refused', async (t) => {
  const original = fixture('userblock.h5');
  for (const [name, at, value] of [
    ['version', 520, 9],
    ['width of addresses', 525, 3],
    ['base address', 536 + 1, 4],
    ['end of file', 552 + 4, 1],
  ] as const) {
    const bytes = Buffer.from(original);
    bytes.writeUInt8(value, at);
    t.equal(broken(bytes, 'gzip').code, 'E_HDF5', name);
  }
  const shifted = Buffer.concat([new Uint8Array(512), original]);
  t.equal(broken(shifted, 'gzip').code, 'E_HDF5', 'a second user block, of which the file does not know');
});

t.test(
  'after any damage: right values or an error of ours, and right values only where all is under a checksum',
  { timeout: 120_000 },
  async (t) => {
    const loader = createHdf5Loader();
    const seed = 20261123;
    t.comment(`seed ${seed}; longer: node test/runner/hdf5-fuzz.ts --rounds N`);
    const result = await fuzz({ seed, rounds: 200, folder }, () => loader.acquire());
    t.same(result.findings, []);
    const { sealed, chunks, anywhere } = result.tallies;
    t.ok(sealed.right > 0 && sealed.refused > 0, 'both happened');
    t.ok(chunks.refused > 0 && anywhere.refused > 0);
    t.equal(sealed.wrong + chunks.wrong, 0);
  },
);
