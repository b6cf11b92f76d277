/** Where an endpoint's folder may lie, and that of two hosts that see it one has it. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { agentFolder, prepareFolder, shareFolder } from '../../agent/identity/folder.ts';
import { checkStateFolder, claimHost, type HostClaim } from '../../agent/state-folder.ts';

const NFS = { typeOf: () => 0x6969 };
const QUIET = { info: () => undefined, warn: () => undefined } as never;

function tempFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-state-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

t.test(
  'state on a network file system is refused, with where to put it; allowing it is said at each start',
  async (t) => {
    const said: string[] = [];
    const log = { warn: (_fields: unknown, text: string) => said.push(text) } as never;
    const check = (config: object, type: number): unknown =>
      checkStateFolder(tmpdir(), config, log, { typeOf: () => type, mounts: () => '1 1 0:1 / / rw - fuse.sshfs x rw' });
    for (const type of [0x6969, 0x0bd00bd0, 0x47504653, 0x19830326, 0xff534d42, 0x65735546]) {
      t.throws(() => check({}, type), {
        code: 'E_FORBIDDEN',
        message: /write-ahead log.*--state \/var\/lib.*--shared.*onNetwork: allow/,
      });
      t.throws(() => check({ onNetwork: 'refuse' }, type), { code: 'E_FORBIDDEN' });
    }
    t.strictSame(said, []);
    t.match(check({ onNetwork: 'allow' }, 0x6969), { kind: 'network', name: 'NFS' });
    t.match(said.splice(0), [/network file system, by configuration/]);
    t.match(check({}, 0xef53), { kind: 'local' });
    t.strictSame(said, []);
    t.match(check({}, 0x01021994), { kind: 'memory' });
    t.match(said.splice(0), [/a restart of this machine loses it/]);
    t.match(check({}, 0x1234), { kind: 'unknown' });
    t.match(said, [/does not know/]);
    t.match(checkStateFolder(tmpdir(), { onNetwork: 'allow' }, QUIET, NFS), { kind: 'network' });
  },
);

t.test('what nodes must see may lie elsewhere than the ledger, and is named once', async (t) => {
  const place = tempFolder(t);
  const [state, shared] = [join(place, 'local'), join(place, 'shared')];
  t.match(agentFolder(state), { shared: undefined, blocks: join(state, 'blocks') });
  shareFolder(state, shared);
  const folder = agentFolder(state);
  for (const name of ['blocks', 'blobs', 'spool', 'images'] as const) t.equal(folder[name], join(shared, name));
  for (const path of [folder.ledger, folder.onlineKey, folder.policy, folder.control]) t.match(path, state);
  prepareFolder(folder);
  t.equal(statSync(folder.blocks).mode & 0o777, 0o700);
  t.equal(statSync(shared).mode & 0o777, 0o700);
  shareFolder(state, shared);
  writeFileSync(folder.descriptor, '');
  t.throws(() => shareFolder(state, join(place, 'other')), { code: 'E_CONFLICT', message: /stop it, move blocks/ });
  writeFileSync(join(state, 'shared.path'), 'not/absolute\n');
  t.throws(() => agentFolder(state), { code: 'E_USAGE', message: /no absolute path/ });
});

interface Host {
  readonly clock: ManualClock;
  readonly lost: FarfieldError[];
  claim(): Promise<HostClaim>;
}

/** Clocks of two hosts have nothing to do with each other. */
function host(folder: string, name: string, boot = `boot of ${name}`): Host {
  const clock = createManualClock(Date.UTC(2026, 0, name.length));
  const lost: FarfieldError[] = [];
  const random = createSeededRandom(`${name} ${boot}`);
  return {
    clock,
    lost,
    claim: () =>
      claimHost({ folder, clock, random, log: QUIET, onLost: (reason) => lost.push(reason), host: name, boot }),
  };
}

async function settle<T>(clock: ManualClock, promise: Promise<T>): Promise<T | FarfieldError> {
  let done: { value: T | FarfieldError } | undefined;
  void promise.then(
    (value) => (done = { value }),
    (reason: FarfieldError) => (done = { value: reason }),
  );
  for (let i = 0; i < 100 && done === undefined; i++) await clock.drive(1_000);
  if (done === undefined) throw new Error('it does not settle');
  return done.value;
}

t.test('while one host renews its claim, another is refused and told where the agent runs', async (t) => {
  const folder = tempFolder(t);
  const [one, two] = [host(folder, 'login1'), host(folder, 'login2')];
  using held = await one.claim();
  const asked = two.claim();
  void asked.catch(() => undefined);
  await two.clock.drive(20_000);
  one.clock.advance(15_000);
  const answer = await settle(two.clock, asked);
  t.match(answer, { code: 'E_CONFLICT', message: /runs on host login1; stop it there first/ });
  held.renew();
  t.strictSame(one.lost, [], 'and the first goes on');
  t.strictSame(
    readdirSync(folder).filter((name) => name.includes('.dead')),
    [],
  );
});

t.test('a claim that nobody renews is taken over, and its late holder ends', async (t) => {
  const folder = tempFolder(t);
  const [one, two] = [host(folder, 'login1'), host(folder, 'login2')];
  using _asleep = await one.claim();
  const started = two.clock.mono();
  const taken = await settle(two.clock, two.claim());
  t.notOk(taken instanceof FarfieldError);
  t.ok(two.clock.mono() - started >= 60_000, 'not before it was watched for a minute');
  one.clock.advance(15_000);
  t.match(one.lost, [{ code: 'E_FENCED', message: /host login2 took it/ }]);
  one.clock.advance(60_000);
  t.equal(one.lost.length, 1, 'said once: it renews nothing any more');
  const holder = JSON.parse(readFileSync(join(folder, 'host.claim'), 'utf8')) as { host: string };
  t.equal(holder.host, 'login2');
  (taken as HostClaim)[Symbol.dispose]();
  t.notOk(existsSync(join(folder, 'host.claim')), 'a good end leaves nothing to wait for');
});

t.test('of two that find the same dead claim, one has the folder', async (t) => {
  const folder = tempFolder(t);
  using _dead = await host(folder, 'login1').claim();
  const [two, three] = [host(folder, 'login2'), host(folder, 'login3')];
  const both = [two.claim(), three.claim()];
  for (const claim of both) void claim.catch(() => undefined);
  for (let i = 0; i < 80; i++) {
    await two.clock.drive(1_000);
    await three.clock.drive(1_000);
  }
  const settled = await Promise.allSettled(both);
  t.strictSame(settled.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  const winner = settled[0]?.status === 'fulfilled' ? two : three;
  winner.clock.advance(45_000);
  t.strictSame(winner.lost, [], 'which keeps it');
});

t.test('after a crash on the same boot there is nothing to wait for; after a reboot there is', async (t) => {
  const folder = tempFolder(t);
  using _crashed = await host(folder, 'login1').claim();
  const again = host(folder, 'login1');
  using _held = await again.claim();
  t.equal(again.clock.mono(), 0);
  const rebooted = host(folder, 'login1', 'another boot');
  await settle(rebooted.clock, rebooted.claim());
  t.ok(rebooted.clock.mono() >= 60_000);
});

t.test('a claim that is no JSON is taken for a dead one', async (t) => {
  const folder = tempFolder(t);
  writeFileSync(join(folder, 'host.claim'), '{"host":');
  const one = host(folder, 'login1');
  t.notOk((await settle(one.clock, one.claim())) instanceof FarfieldError);
});
