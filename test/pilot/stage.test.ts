/** What a container is given of the host, and what comes back of it: without a container. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { prepareLaunch } from '../../pilot/launch.ts';
import type { Lease } from '../../pilot/lease.ts';
import { STAGE_MAX_BYTES } from '../../pilot/limits.ts';
import { cleanUp, outcomeOf } from '../../pilot/results.ts';
import { readSpec } from '../../pilot/spec.ts';
import { type Item, launchOf, SPEC } from '../fakes/agent.ts';
import { json } from '../fakes/pilot.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-stage-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const digests = createFileDigests();
const outDirs = join(folder, 'out');
const spillDir = join(folder, 'args');
const CONTAINED = { ...SPEC, adapter: 'raw', runtime: 'apptainer', image: `sif:${'0'.repeat(64)}` };

async function leaseOf(item: Item, change: Partial<typeof SPEC> = {}): Promise<Lease> {
  const { launch } = launchOf([item], 1, 7, outDirs);
  if (launch === undefined) throw new Error('no launch');
  const spec = readSpec({ ...CONTAINED, ...change });
  const [one] = prepareLaunch(launch as never, spec, { digests, spillDir, nowMono: 0 }, () => true);
  const prepared = await one?.work;
  if (prepared?.kind !== 'lease') throw new Error(JSON.stringify(prepared?.refused.error.message));
  return prepared.lease;
}

const inline = (key: number): Item => ({ key, args: [{ name: 'x', bytes: json(key) }] });

t.test('each pool has folders of its own, and the runner is told inside paths only', async (t) => {
  const [a, b, c] = [
    await leaseOf(inline(1), { poolKey: 'alice' }),
    await leaseOf(inline(2), { poolKey: 'alice' }),
    await leaseOf(inline(3), { poolKey: 'bob' }),
  ];
  t.strictSame(a.spec.stage, b.spec.stage);
  t.not(a.spec.stage?.in, c.spec.stage?.in);
  t.not(a.spec.stage?.out, c.spec.stage?.out);
  t.equal(a.item.outDir, '/farfield/out/1.1');
  t.equal(a.written, join(a.spec.stage?.out ?? '', '1.1'));
  t.equal(statSync(a.written).mode & 0o777, 0o700);
  t.notMatch(JSON.stringify(a.item), folder);
});

t.test('a file argument is a copy that is measured: what happens to the original later is no matter', async (t) => {
  const path = join(folder, 'a, b:c.h5');
  writeFileSync(path, 'first');
  const lease = await leaseOf({ key: 4, args: [{ name: 'x', path }] });
  writeFileSync(path, 'second');
  const [copy] = lease.files;
  t.equal(readFileSync(copy?.path ?? '', 'utf8'), 'first');
  t.match(lease.item.args[0], { at: 'file', path: '/farfield/in/4.1.0', size: 5 });
  await cleanUp(lease, { file: undefined } as never);
  t.notOk(existsSync(copy?.path ?? ''), 'it goes with the item');
  t.notOk(existsSync(lease.written));
  t.equal(readFileSync(path, 'utf8'), 'second', 'the original does not');
});

t.test('a large file is bound by itself, for a runner of its own', async (t) => {
  const path = join(folder, 'large.h5');
  writeFileSync(path, '');
  const { truncate } = await import('node:fs/promises');
  await truncate(path, STAGE_MAX_BYTES + 1);
  const lease = await leaseOf({ key: 5, args: [{ name: 'x', path }] });
  t.strictSame(lease.spec.stage?.files, [path]);
  t.match(lease.item.args[0], { path: /^\/farfield\/files\/.+\/large\.h5$/ });
  t.not(lease.spec.poolKey, (await leaseOf(inline(6))).spec.poolKey);
  await cleanUp(lease, { file: undefined } as never);
  t.ok(existsSync(path), 'it is not ours to delete');
});

const done = (path: string) =>
  ({
    kind: 'done',
    done: { id: 'x', status: 'succeeded', result: { type: 'bytes', at: 'file', size: 3, path } },
    inline: undefined,
  }) as const;

t.test('a result comes back to where the agent looks for it', async (t) => {
  const lease = await leaseOf(inline(7));
  writeFileSync(join(lease.written, 'r.bin'), 'abc');
  const outcome = await outcomeOf(lease, done('/farfield/out/7.1/r.bin'), '{}', digests);
  t.match(outcome, { status: 'succeeded', file: { path: join(outDirs, '7.1', 'r.bin'), size: 3 } });
  await cleanUp(lease, outcome);
  t.equal(readFileSync(join(outDirs, '7.1', 'r.bin'), 'utf8'), 'abc');
});

t.test('a result that is anything but a file of its own folder is refused', async (t) => {
  const other = join(outDirs, '99.1');
  mkdirSync(other, { recursive: true });
  writeFileSync(join(other, 'r.bin'), 'of another');
  const refused = async (key: number, path: string, tamper: (written: string) => void): Promise<void> => {
    const lease = await leaseOf(inline(key));
    tamper(lease.written);
    const outcome = await outcomeOf(lease, done(path), '{}', digests);
    t.match(outcome, { status: 'failed', detail: { err: { code: 'E_PROTOCOL' } } }, path);
    await cleanUp(lease, outcome);
  };
  await refused(10, '/etc/passwd', () => {});
  await refused(11, '/farfield/out/11.1/..', () => {});
  await refused(12, '/farfield/out/99.1/r.bin', () => {});
  await refused(13, '/farfield/out/13.1/r.bin', (written) => symlinkSync(join(other, 'r.bin'), join(written, 'r.bin')));
  await refused(14, '/farfield/out/14.1/r.bin', (written) => {
    renameSync(written, `${written}.gone`);
    // After the rename into the agent's folder this leads to the neighbour.
    symlinkSync('99.1', written);
  });
  t.equal(readFileSync(join(other, 'r.bin'), 'utf8'), 'of another', 'and the other item keeps its result');
});
