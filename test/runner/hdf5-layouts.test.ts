import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { FIXTURES, failure, library, patches, readAll } from './hdf5-fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-layouts-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const SAME = [
  ...['contiguous', 'compact', 'single', 'single_gzip', 'implicit', 'fixed', 'fixed_gzip', 'extensible'],
  ...['extensible_gzip', 'extensible_column', 'free', 'free_gzip', 'grown', 'committed', 'soft'],
  'entry/instrument/data',
];

for (const file of ['layouts.h5', 'v110.h5', 'latest.h5']) {
  t.test(
    `${file}: every layout and chunk index gives the same values, in any size of block`,
    { timeout: 120_000 },
    async (t) => {
      const path = join(FIXTURES, file);
      for (const name of SAME) {
        for (const step of [1, 7, 40]) t.same([...readAll(path, name, { step })], patches(), `${name} by ${step}`);
      }
      const many = Array.from({ length: 4200 }, (_, k) => k);
      t.same([...readAll(path, 'fixed_paged', { step: 100 })], many, 'more chunks than one page of the index holds');
      t.same([...readAll(path, 'extensible_many', { step: 100 })], many, 'more chunks than the first blocks hold');
    },
  );

  t.test(`${file}: what was never written has the fill value`, async (t) => {
    const path = join(FIXTURES, file);
    for (const name of ['empty', 'empty_chunks']) {
      t.ok(
        readAll(path, name).every((value) => value === 7),
        name,
      );
    }
    const expected = patches().map((value, i) => (i >= 16 * 121 && i < 32 * 121 ? value : 7));
    t.same([...readAll(path, 'sparse')], expected);
  });
}

t.test('a user block before the file moves nothing', async (t) => {
  for (const name of ['contiguous', 'gzip', 'lzf']) {
    t.same([...readAll(join(FIXTURES, 'userblock.h5'), name)], patches(), name);
  }
});

t.test('every element type is read exactly, in either byte order', async (t) => {
  const types = join(FIXTURES, 'types.h5');
  for (const name of ['u2', 'u4', 'u8']) {
    for (const order of ['', 'big_']) t.same([...readAll(types, order + name)], patches(), order + name);
  }
  for (const name of ['i2', 'i4', 'i8', 'f2', 'f4', 'f8']) {
    for (const order of ['', 'big_']) t.same([...readAll(types, order + name)], patches(3), order + name);
  }
  // As bytes the same numbers wrap.
  t.same(
    [...readAll(types, 'u1')],
    patches().map((value) => value & 255),
    'u1',
  );
  t.same(
    [...readAll(types, 'i1')],
    patches(3).map((value) => (value << 24) >> 24),
    'i1',
  );
  t.same([...readAll(types, 'big_gzip')], patches(), 'big-endian behind gzip');
});

t.test('labels of 64-bit integers are read as FP64, and one that does not fit is refused with its row', async (t) => {
  const types = join(FIXTURES, 'types.h5');
  using file = Hdf5File.open(library, types, 'x.h5');
  using data = file.dataset('class');
  t.match(data.info, { stored: 'f8', inFile: 'i8', rowBytes: 8 });
  t.same(
    [...readAll(types, 'class')],
    Array.from({ length: 40 }, (_, k) => k),
  );
  t.same([...readAll(types, 'largest_i8')], [2 ** 53, -(2 ** 53)]);
  t.match(
    failure(() => readAll(types, 'huge_i8')),
    { code: 'E_INPUT', message: /^x\.h5:\/huge_i8: row 3 holds .*2\^53/ },
  );
  t.match(
    failure(() => readAll(types, 'huge_u8')),
    { code: 'E_INPUT', message: /row 1 holds/ },
  );
});

t.test('what is no number is refused by its name', async (t) => {
  const types = join(FIXTURES, 'types.h5');
  for (const [name, said] of [
    ['bool', /booleans \(an enumeration\)/],
    ['compound', /compounds of 2 fields, the first "x"/],
    ['text', /text of variable length/],
    ['complex', /compounds of 2 fields, the first "r"|complex/],
    ['opaque', /opaque elements/],
    ['reference', /references/],
    ['scalar', /holds no array/],
    ['null', /holds no array/],
    ['array', /arrays as elements/],
    ['vlen', /elements of variable length/],
    ['bfloat16', /2-byte floats that are not IEEE/],
  ] as const) {
    const found = failure(() => readAll(types, `no_${name}`));
    t.match(found, { code: 'E_INPUT', message: said }, name);
    t.match(found.message, new RegExp(`^x\\.h5:/no_${name}: `));
  }
  t.match(
    failure(() => readAll(join(FIXTURES, 'filters.h5'), 'refused_nbit12')),
    { code: 'E_INPUT', message: /not all bits/ },
  );
});

t.test('a wrong path lists the data sets there are; groups, dead links and loops are told apart', async (t) => {
  const path = join(FIXTURES, 'layouts.h5');
  t.match(
    failure(() => readAll(path, '/entry/nothing')),
    {
      code: 'E_INPUT',
      message: /^x\.h5:\/entry\/nothing: there is no such data set; the file holds \/committed \[40, 11, 11\]/,
    },
  );
  t.match(
    failure(() => readAll(path, '/entry')),
    { code: 'E_INPUT', message: /is a group, not a data set/ },
  );
  t.match(
    failure(() => readAll(path, '/contiguous/below')),
    { code: 'E_INPUT', message: /there is no such data set/ },
  );
  t.match(failure(() => readAll(path, '/dangling')).message, /there is no such data set/);
  t.match(failure(() => readAll(path, '/loop')).message, /there is no such data set|more than/);
  t.match(failure(() => readAll(path, '/type')).message, /there is no such data set/);
});

interface Shape {
  readonly shape: readonly bigint[];
  readonly maxshape: readonly bigint[] | null;
  readonly chunks: readonly bigint[] | null;
}

/** Writes one data set with the library itself: our writer makes only what our results need. */
function write(path: string, bytes: Uint8Array, size: number, shape: Shape, newest: boolean): void {
  const { module } = library;
  using _lease = library.allow(path);
  const { H5F_LIBVER_LATEST: latest } = module as unknown as { readonly H5F_LIBVER_LATEST: number };
  const bound = newest ? latest : -1;
  const id = module.open(path, module.H5F_ACC_TRUNC, false, bound, bound);
  const pointer = module._malloc(bytes.length);
  module.HEAPU8.set(bytes, pointer);
  const type = { type: size === 4 ? 1 : 0, size, signed: false, vlen: false, littleEndian: true };
  const status = module.create_dataset(id, '/data', BigInt(pointer), { ...type, ...shape });
  module._free(pointer);
  module.close_file(id);
  if (status < 0) throw new Error(`create_dataset: ${library.reason}`);
}

/** Moves pieces of a file to the far end of it, and whatever points at them. */
function moveAway(path: string, pieces: readonly Buffer[], shift: number): void {
  const bytes = readFileSync(path);
  const fd = openSync(path, 'r+');
  const put = (value: number, at: number): void => {
    const pointer = Buffer.alloc(8);
    pointer.writeBigUInt64LE(BigInt(value));
    writeSync(fd, pointer, 0, 8, at);
  };
  try {
    ftruncateSync(fd, shift + bytes.length);
    for (const piece of pieces) {
      const at = bytes.indexOf(piece);
      const pointer = Buffer.alloc(8);
      pointer.writeBigUInt64LE(BigInt(at));
      // The layout says place and length; the chunk index, at eights of bytes, says the place alone.
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(piece.length));
      const said = bytes.indexOf(Buffer.concat([pointer, length]));
      let listed = bytes.indexOf(pointer);
      while (listed >= 0 && listed % 8 !== 0) listed = bytes.indexOf(pointer, listed + 1);
      put(at + shift, said >= 0 ? said : listed);
      writeSync(fd, piece, 0, piece.length, at + shift);
      writeSync(fd, Buffer.alloc(piece.length), 0, piece.length, at);
    }
    // Where a superblock of version 0 keeps the end of the file.
    put(shift + bytes.length, 40);
  } finally {
    closeSync(fd);
  }
}

t.test('offsets beyond 4 GiB are read, in one piece and in chunks', async (t) => {
  const path = join(folder, 'far.h5');
  copyFileSync(join(FIXTURES, 'plain.h5'), path);
  const bytes = (less: number): Buffer => Buffer.from(Float32Array.from(patches(less)).buffer);
  const chunks = [0, 20].map((row) => bytes(3).subarray(row * 484, (row + 20) * 484));
  moveAway(path, [bytes(0), ...chunks], 5 * 2 ** 30);
  t.ok(statSync(path).size > 5 * 2 ** 30);
  t.ok(statSync(path).blocks * 512 < 2 ** 26, 'a sparse file: it takes no space');
  t.same([...readAll(path, 'contiguous')], patches());
  t.same([...readAll(path, 'chunked')], patches(3));
  rmSync(path);
});

t.test('an index of many chunks is read through its super blocks and pages', { timeout: 120_000 }, async (t) => {
  const path = join(folder, 'many.h5');
  const rows = 140_000;
  const values = Uint8Array.from({ length: rows }, (_, k) => (k * 7 + (k >> 8)) & 255);
  // All bits set is HDF5's word for "unlimited".
  const shape = { shape: [BigInt(rows)], maxshape: [2n ** 64n - 1n], chunks: [1n] };
  write(path, values, 1, shape, true);
  t.ok(readFileSync(path).includes('EASB'), 'the file has super blocks');
  t.ok(Buffer.from(readAll(path, '/data', { step: 20_000 }) as Uint8Array).equals(values));
});
