import { copyFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { FIXTURES, failure, library, patches, readAll } from './hdf5-fixtures.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-links-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
for (const name of ['master.h5', 'part-0.h5', 'part-1.h5', 'raw.bin'])
  copyFileSync(join(FIXTURES, name), join(folder, name));
const MASTER = join(folder, 'master.h5');
const roots = [folder];
const all = patches();
const row = 121;

t.test('by default nothing leads out of a file: every way is refused with the name that it wanted', async (t) => {
  for (const [dataset, wanted] of [
    ['link', 'part-1.h5'],
    ['link_group/data', 'part-1.h5'],
    ['soft_over_link', 'part-1.h5'],
    ['link_absolute', '/etc/passwd'],
    ['storage', 'raw.bin'],
    ['virtual', 'part-0.h5'],
    ['parts', 'part-1.h5'],
  ] as const) {
    const found = failure(() => readAll(MASTER, dataset));
    t.match(found, { code: 'E_HDF5', message: `leads to another file, "${wanted}", and no folder is open` }, dataset);
    t.match(found.message, /^x\.h5:\/\w+/);
  }
  t.same([...readAll(MASTER, 'own')], all, 'a virtual data set over the same file is read');
});

t.test('in the folders that the caller allows, links, external storage and virtual data sets are read', async (t) => {
  for (const dataset of ['link', 'link_group/data', 'soft_over_link']) {
    t.same([...readAll(MASTER, dataset, { roots })], all.slice(20 * row), dataset);
  }
  t.same([...readAll(MASTER, 'storage', { roots })], all, 'external storage in two pieces');
  for (const step of [1, 7, 40]) {
    t.same([...readAll(MASTER, 'virtual', { roots, step })], all, `virtual by ${step}`);
    t.same([...readAll(MASTER, 'own', { roots, step })], all);
    const parts = [...all.slice(30 * row, 35 * row), ...all.slice(0, 35 * row)];
    t.same([...readAll(MASTER, 'parts', { roots, step })], parts, `parts by ${step}`);
  }
  const turns = [0, 20, 10, 30].flatMap((at) => all.slice(at * row, (at + 10) * row));
  t.same([...readAll(MASTER, 'turns', { roots })], turns, 'sources that take turns');
  const strided = Array.from({ length: 20 }, (_, k) => (k % 2 === 0 ? 20 : 0) + (k >> 1));
  t.same(
    [...readAll(MASTER, 'strided', { roots })],
    strided.flatMap((at) => all.slice(at * row, (at + 1) * row)),
    'every other row',
  );
});

t.test(
  'rows of a virtual data set without a source have the fill value; a source that is gone is an error',
  async (t) => {
    const gap = all.map((value, i) => (i < 20 * row ? 7 : value));
    t.same([...readAll(MASTER, 'gap', { roots })], gap);
    t.match(
      failure(() => readAll(MASTER, 'missing', { roots })),
      {
        code: 'E_HDF5',
        message: /^x\.h5:\/missing: leads to another file, "missing\.h5", which is not there/,
      },
    );
    t.match(
      failure(() => readAll(MASTER, 'link_missing', { roots })),
      { code: 'E_HDF5', message: /which is not there/ },
    );
    t.match(
      failure(() => readAll(MASTER, 'storage_short', { roots })),
      { code: 'E_HDF5', message: /"raw\.bin" ends early/ },
    );
    t.match(
      failure(() => readAll(MASTER, 'columns', { roots })),
      { code: 'E_HDF5', message: /parts of rows, which is not/ },
    );
  },
);

t.test('what leaves the allowed folders is refused, as written and as it truly lies', async (t) => {
  for (const dataset of ['away', 'link_away', 'link_absolute', 'storage_away']) {
    t.match(
      failure(() => readAll(MASTER, dataset, { roots })),
      { code: 'E_HDF5', message: /outside the folders/ },
      dataset,
    );
  }
  // The same name, now a symbolic link to a file outside, then inside a folder that is one.
  const outside = mkdtempSync(join(tmpdir(), 'farfield-outside-'));
  t.teardown(() => rmSync(outside, { recursive: true, force: true }));
  renameSync(join(folder, 'part-1.h5'), join(outside, 'part-1.h5'));
  symlinkSync(join(outside, 'part-1.h5'), join(folder, 'part-1.h5'));
  t.match(
    failure(() => readAll(MASTER, 'link', { roots })),
    { code: 'E_HDF5', message: /symbolic link/ },
  );
  rmSync(join(folder, 'part-1.h5'));
  renameSync(join(outside, 'part-1.h5'), join(folder, 'part-1.h5'));
  t.same([...readAll(MASTER, 'link', { roots: [outside, folder] })], all.slice(20 * row));
  t.match(
    failure(() => readAll(MASTER, 'link', { roots: [outside] })),
    { code: 'E_HDF5', message: /outside the folders/ },
  );
  t.match(
    failure(() => readAll(MASTER, 'link', { roots: [join(folder, 'gone')] })),
    { message: /no folder is open/ },
  );
  t.match(
    failure(() => readAll(MASTER, 'link', { roots: [`${folder.slice(0, -1)}`] })).code,
    'E_HDF5',
    'no prefix of a name',
  );
});

t.test('a folder that is a symbolic link is seen through', async (t) => {
  const inner = join(folder, 'inner');
  const other = mkdtempSync(join(tmpdir(), 'farfield-other-'));
  t.teardown(() => rmSync(other, { recursive: true, force: true }));
  mkdirSync(join(other, 'deep'));
  copyFileSync(MASTER, join(other, 'deep', 'master.h5'));
  copyFileSync(join(folder, 'part-1.h5'), join(other, 'deep', 'part-1.h5'));
  symlinkSync(join(other, 'deep'), inner);
  const path = join(inner, 'master.h5');
  t.match(
    failure(() => readAll(path, 'link', { roots })),
    { code: 'E_HDF5', message: /outside the folders/ },
  );
  t.same([...readAll(path, 'link', { roots: [other] })], all.slice(20 * row));
});

t.test('loops end: of links, and of a virtual data set over itself', async (t) => {
  t.match(
    failure(() => readAll(MASTER, 'link_there_and_back', { roots })),
    { code: 'E_HDF5', message: /more than 16 links/ },
  );
  t.match(
    failure(() => readAll(MASTER, 'endless', { roots })),
    { code: 'E_HDF5', message: /more than 16 links/ },
  );
});

t.test('a file is opened itself: no symbolic link, no folder, no device, nothing that waits', async (t) => {
  const link = join(folder, 'link.h5');
  symlinkSync(MASTER, link);
  t.match(
    failure(() => readAll(link, 'plain')),
    { code: 'E_INPUT', message: /^x\.h5: is a symbolic link/ },
  );
  t.match(
    failure(() => readAll(folder, 'plain')),
    { code: 'E_INPUT', message: /^x\.h5: not a regular file/ },
  );
  t.match(
    failure(() => readAll('/dev/zero', 'plain')),
    { code: 'E_INPUT', message: /^x\.h5: not a regular file/ },
  );
  t.match(
    failure(() => readAll(join(folder, 'gone.h5'), 'plain')),
    { code: 'E_NOT_FOUND', message: /^x\.h5: there is no/ },
  );
});

t.test('files that were opened along the way are closed, whatever came of it', async (t) => {
  const { readdirSync } = await import('node:fs');
  const open = (): number => readdirSync('/proc/self/fd').length;
  if (!(await import('node:fs')).existsSync('/proc/self/fd')) return t.pass('this system does not list descriptors');
  const before = open();
  for (let k = 0; k < 20; k++) {
    readAll(MASTER, 'virtual', { roots });
    readAll(MASTER, 'storage', { roots });
    for (const name of ['missing', 'columns', 'storage_short', 'link_missing', 'away']) {
      failure(() => readAll(MASTER, name, { roots }));
    }
  }
  t.equal(open(), before);
});

t.test('a change of any of the files is noticed', async (t) => {
  using file = Hdf5File.open(library, MASTER, 'x.h5', { roots });
  using data = file.dataset('virtual');
  t.equal(data.info.rows, 40);
  t.notOk(file.changed());
  const { appendFileSync } = await import('node:fs');
  appendFileSync(join(folder, 'part-0.h5'), 'x');
  t.ok(file.changed(), 'a source was appended to');
});
