import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { filterProblem, pluginPath, readableFilters } from '../../runner/hdf5/filters.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { createPipeline, fletcher32 } from '../../runner/hdf5/pipeline.ts';
import { createPluginDecoder, DecoderFailure } from '../../runner/hdf5/plugin.ts';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { FIXTURES, failure, library, patches, readAll } from './hdf5-fixtures.ts';
import { chunkTable, mutate, seeded } from './hdf5-mutations.ts';

const FILTERS = join(FIXTURES, 'filters.h5');

t.test('every filter that is read gives the values that Python wrote, in any size of block', async (t) => {
  using file = Hdf5File.open(library, FILTERS, 'x.h5');
  const names = file.datasets().map(({ path }) => path);
  const read = names.filter((name) => !name.includes('refused') && !name.includes('wide'));
  t.ok(read.length >= 27, `${read.length} data sets`);
  for (const name of read) {
    for (const step of [1, 7, 16, 40]) t.same([...readAll(FILTERS, name, { step })], patches(), `${name} by ${step}`);
  }
  t.same([...readAll(FILTERS, '/scaleoffset_wide')], patches(2 ** 40), '64-bit integers by scaleoffset');
});

t.test('what can be read is said', async (t) => {
  t.same(readableFilters(library.plugins), [
    'deflate (gzip)',
    'shuffle',
    'fletcher32',
    'nbit',
    'scaleoffset',
    'lzf',
    'blosc',
    'lz4',
    'bitshuffle',
    'zstd',
  ]);
});

t.test('any other filter is named, with the data set and the way out, before a byte is read', async (t) => {
  for (const [dataset, name] of [
    ['bzip2', /filter 307 \(bzip2\)/],
    ['sz3', /filter 32024 \(sz3\)/],
    ['zfp', /filter 32013 \(zfp\)/],
    ['blosc2', /filter 32026 \(blosc2\)/],
  ] as const) {
    const { code, message } = failure(() => {
      using file = Hdf5File.open(library, FILTERS, 'x.h5');
      file.dataset(`refused_${dataset}`);
    });
    t.equal(code, 'E_HDF5');
    t.match(message, name);
    t.match(message, new RegExp(`^x\\.h5:/refused_${dataset}: .*h5repack -f GZIP=4`));
  }
});

t.test('without the package of plug-ins its filters are refused, and the others are read', async (t) => {
  t.match(filterProblem(32004, 'x', undefined), /filter 32004 \(lz4\) needs the package h5wasm-plugins, .*; rewrite/);
  t.match(filterProblem(32004, 'x', FIXTURES), /needs the package/, 'nor are they taken from a folder that lacks them');
  t.same(readableFilters(undefined), ['deflate (gzip)', 'shuffle', 'fletcher32', 'nbit', 'scaleoffset']);
});

t.test('no plug-in is looked for where the environment says', async (t) => {
  process.env.HDF5_PLUGIN_PATH = FIXTURES;
  t.teardown(() => delete process.env.HDF5_PLUGIN_PATH);
  const fresh = await createHdf5Loader().acquire();
  t.same(fresh.module.get_plugin_search_paths(), [], 'the library has no folder to look in at all');
  t.match(pluginPath(32000, fresh.plugins), /h5wasm-plugins\/plugins\/libH5Zlzf\.so$/);
});

t.test('a decoder sees nothing but its chunk, and one that fails starts afresh', async (t) => {
  const path = pluginPath(32004, library.plugins);
  if (path === undefined) return t.fail('h5wasm-plugins is not installed');
  const decoder = createPluginDecoder(path);
  const bomb = new Uint8Array(64);
  new DataView(bomb.buffer).setBigUint64(0, 2n ** 40n);
  new DataView(bomb.buffer).setUint32(8, 2 ** 30);
  t.throws(() => decoder.decode(bomb, [], 1000), DecoderFailure, 'a terabyte is not given');
  // Eight literal bytes as one LZ4 block: length 8, block 8, 9 bytes compressed.
  const good = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 9, 0x80, 1, 2, 3, 4, 5, 6, 7, 8);
  for (let k = 0; k < 3; k++) t.same([...decoder.decode(good, [], 8)], [1, 2, 3, 4, 5, 6, 7, 8]);
  t.throws(() => decoder.decode(good, [], 4), DecoderFailure, 'no more than was asked for');
});

t.test(
  'what a decoder returns it has written: nothing that lay in its memory comes out, however its chunk is damaged',
  async (t) => {
    const random = seeded(7);
    let [decoded, refused] = [0, 0];
    for (const name of [
      'lzf',
      'lz4',
      'lz4_blocks',
      'bitshuffle_lz4',
      'bitshuffle_zstd',
      'zstd',
      'blosc_lz4',
      'blosc_zstd',
    ]) {
      const { table, object, bytes } = chunkTable(library, FILTERS, name);
      const found = table.find(0);
      const path = pluginPath(object.filters[0]?.id ?? 0, library.plugins);
      if (found === undefined || path === undefined) return t.fail(`${name} has no chunk or no decoder`);
      const stored = Buffer.from(bytes.subarray(found.at, found.at + found.bytes));
      // Two decoders whose memory holds other things before they begin.
      const both = [0xa5, 0x5a].map((fresh) => {
        const decoder = createPluginDecoder(path, fresh);
        return createPipeline(object.filters, table.chunkBytes, () => decoder);
      });
      for (let k = 0; k < 60; k++) {
        const damaged = mutate(stored, [[0, stored.length]], random);
        const [one, other] = both.map((pipeline) => {
          try {
            return Buffer.from(pipeline.decode(damaged, 0)).toString('base64');
          } catch (reason) {
            if (!(reason instanceof DecoderFailure)) throw reason;
            return undefined;
          }
        });
        if (one !== other) t.fail(`${name}, change ${k}`);
        if (one === undefined) refused++;
        else decoded++;
      }
    }
    t.ok(decoded > 50 && refused > 100, `${decoded} decoded, ${refused} refused`);
  },
);

t.test('the checksum is HDF5 its own', async (t) => {
  // Read back from the fixture: the chunk's last four bytes are the sum of what stands before.
  const bytes = readFileSync(FILTERS);
  const row = Buffer.from(Float32Array.from(patches()).buffer);
  const chunk = row.subarray(0, 16 * 484);
  const at = bytes.indexOf(Buffer.concat([chunk, le(fletcher32(chunk))]));
  t.ok(at > 0, 'the chunk stands in the file with this sum behind it');
  t.equal(fletcher32(Uint8Array.of(1)), 0x01000100, 'an odd byte counts as the high one');
  t.equal(fletcher32(new Uint8Array(0)), 0);
});

function le(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
