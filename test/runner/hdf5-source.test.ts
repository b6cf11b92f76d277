import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openSource, type SourceTools, type SourceWish } from '../../runner/sources.ts';
import { FIXTURES, library, patches } from './hdf5-fixtures.ts';

const scratchDir = mkdtempSync(join(tmpdir(), 'farfield-source-'));
t.teardown(() => rmSync(scratchDir, { recursive: true, force: true }));

const tools: SourceTools = { hdf5: async () => library, scratchDir };
const PATCHES: SourceWish = { rowShape: [11, 11], stored: undefined, dataset: undefined };

function argument(file: string, sel: string) {
  const path = join(FIXTURES, file);
  return { arg: { name: 'patches', type: 'hdf5', at: 'file', path, sel, size: 0 } as const, bytes: undefined };
}

t.test('labels of 64-bit integers are a source of FP64; a model that wants others is told both types', async (t) => {
  const wish = { rowShape: [], stored: undefined, dataset: undefined };
  using labels = await openSource(argument('types.h5', '/class'), wish, tools);
  t.match(labels, { stored: 'f8', inFile: 'i8', rows: 40 });
  const bytes = new Uint8Array(40 * 8);
  labels.readRows(0, 40, bytes);
  t.same(
    [...new Float64Array(bytes.buffer)],
    Array.from({ length: 40 }, (_, k) => k),
  );
  await t.rejects(openSource(argument('types.h5', '/class'), { ...wish, stored: ['f4', 'u2'] }, tools), {
    code: 'E_INPUT',
    message: /holds i8, which is read as f8; this model takes f4, u2/,
  });
});

t.test("a refusal names the argument, the file's own name and the data set, never a folder", async (t) => {
  const found = await openSource(argument('filters.h5', '/refused_sz3'), PATCHES, tools).catch(
    (reason: Error) => reason,
  );
  t.match(found, { code: 'E_HDF5', message: /^patches \(filters\.h5\):\/refused_sz3: filter 32024/ });
  t.notMatch((found as Error).message, FIXTURES);
  const bytes = readFileSync(join(FIXTURES, 'filters.h5'));
  const inline = { arg: { name: 'patches', type: 'hdf5', at: 'inline', size: bytes.length } as const, bytes };
  await t.rejects(openSource(inline, { ...PATCHES, dataset: '/refused_sz3' }, tools), {
    message: /^patches:\/refused_sz3: /,
  });
});

t.test('what a file names is followed only into the folders that the tools name', async (t) => {
  await t.rejects(openSource(argument('master.h5', '/virtual'), PATCHES, tools), {
    code: 'E_HDF5',
    message: /leads to another file, "part-0\.h5", and no folder is open to such links here/,
  });
  using source = await openSource(argument('master.h5', '/virtual'), PATCHES, { ...tools, linkRoots: [FIXTURES] });
  const bytes = new Uint8Array(40 * 484);
  source.readRows(0, 40, bytes);
  t.same([...new Float32Array(bytes.buffer)], patches());
});

t.test('a file that changes while it is read is an error, a source of a virtual data set too', async (t) => {
  const { appendFileSync } = await import('node:fs');
  for (const name of ['master.h5', 'part-0.h5', 'part-1.h5'])
    copyFileSync(join(FIXTURES, name), join(scratchDir, name));
  const { arg, bytes } = argument('master.h5', '/virtual');
  const moved = { arg: { ...arg, path: join(scratchDir, 'master.h5') }, bytes };
  using source = await openSource(moved, PATCHES, { ...tools, linkRoots: [scratchDir] });
  const rows = new Uint8Array(40 * 484);
  source.readRows(0, 20, rows.subarray(0, 20 * 484));
  source.mustBeSame();
  appendFileSync(join(scratchDir, 'part-0.h5'), 'x');
  t.throws(() => source.mustBeSame(), { code: 'E_INPUT', message: /the file changed/ });
});
