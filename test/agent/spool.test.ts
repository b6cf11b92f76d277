/** What lies in the spool after a crash: kept while anybody may name it, removed when nobody can. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { sweepSpool } from '../../agent/spool.ts';
import { single } from './parts.ts';
import { startSite } from './site.ts';

const [A, B] = ['a'.repeat(64), 'b'.repeat(64)];

t.test('results that no pack names go, with folders of attempts; names that are not the spool’s stay', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-spool-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  t.equal(
    await sweepSpool(folder, { named: new Set(), leased: 0 }),
    0,
    'a new one has nothing, not even its folder of attempts',
  );
  for (const name of [A, B, 'notes.txt', 'c'.repeat(63)]) writeFileSync(join(folder, name), 'x');
  mkdirSync(join(folder, 'out', '7.1'), { recursive: true });
  writeFileSync(join(folder, 'out', '7.1', 'result.h5'), 'half');
  mkdirSync(join(folder, 'out', 'mine'));
  t.equal(await sweepSpool(folder, { named: new Set([A]), leased: 1 }), 0, 'while something is leased nothing goes');
  t.equal(await sweepSpool(folder, { named: new Set([A]), leased: 0 }), 2);
  t.same(readdirSync(folder).sort(), [A, 'c'.repeat(63), 'notes.txt', 'out'].sort());
  t.same(readdirSync(join(folder, 'out')), ['mine']);
});

t.test('an agent sweeps its spool at its start, unless a pilot may still name what lies there', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  const orphan = join(site.folder.spool, A);
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  writeFileSync(orphan, 'x');
  await site.restart();
  t.ok(existsSync(orphan), 'its pilot has not said yet how it ended');
  await site.pilots[0]?.dial();
  site.pilots[0]?.finish();
  await site.until('it ended', () => site.agent.status().work.tickets === 0);
  await site.restart();
  t.notOk(existsSync(orphan));
});
