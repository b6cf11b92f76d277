/**
 * Older and newer peers and stores. Each side states which versions it speaks: the highest common one holds, so that a build
 * works with the one before and the one after; without one, both sides learn which versions there are and who must upgrade.
 *
 * The handshake itself is held in test/base/link/session.test.ts, migrations of a store in test/base/sqlite/group.test.ts.
 */
import '../leaks.ts';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { systemRandom } from '#base/random.ts';
import { PROTOCOL } from '#kernel/limits.ts';
import { single } from '../agent/parts.ts';
import { startSite } from '../agent/site.ts';
import { json, startTestBroker } from '../broker/setting.ts';
import { createPilotPeer } from '../fakes/pilot-peer.ts';
import { startWorld, type World } from './world.ts';

/** The next build: it speaks its own version and the one before. */
const NEXT = { min: PROTOCOL.max, max: PROTOCOL.max + 1 };
const FAR = { min: PROTOCOL.max + 2, max: PROTOCOL.max + 3 };
const UPGRADE_US = new RegExp(
  `speaks ${PROTOCOL.min}-${PROTOCOL.max}, the other ${FAR.min}-${FAR.max}; upgrade this side`,
);
const UPGRADE_THEM = new RegExp(
  `speaks ${FAR.min}-${FAR.max}, the other ${PROTOCOL.min}-${PROTOCOL.max}; upgrade the other`,
);

t.test('agents of other versions at a broker: the next one works, one too new is told who must upgrade', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  const first = await setting.connect(peer, { auto: true });
  await t.rejects(setting.connect(peer, { protocol: FAR }), { code: 'E_VERSION', message: UPGRADE_THEM });
  t.match(await user.submit(user.ticket([json(1)], { endpoint: peer.endpoint })), [{ outcome: 'queued' }]);
  await first.until(() => first.acked.length === 1);
  t.pass('the session that was there goes on');
  const next = await setting.connect(peer, { auto: true, protocol: NEXT, sessionEpoch: first.session.epoch });
  t.equal(next.session.protocol, PROTOCOL.max, 'the common version holds');
  await user.submit(user.ticket([json(2)], { endpoint: peer.endpoint }));
  await next.until(() => next.acked.length === 1);
});

t.test('an agent at brokers of other versions: the next one works; one too new ends it with what to do', async (t) => {
  await using site = await startSite({ pilot: { auto: true } });
  const receipts = () => site.broker.receipts(site.party.principal.kid).length;
  site.broker.protocol = NEXT;
  site.broker.transport.pairs.at(-1)?.cut();
  await site.until('it is back', () => site.broker.sessions.length === 2, 200);
  t.equal(site.broker.sessions[1]?.protocol, PROTOCOL.max);
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it works', () => receipts() === 1);
  site.broker.protocol = FAR;
  site.broker.transport.pairs.at(-1)?.cut();
  await site.until(
    'it gives up',
    () => site.log.some((line) => line.includes('the broker refuses this endpoint')),
    200,
  );
  t.match(await site.agent.ended, { code: 'E_VERSION', reason: UPGRADE_US });
  site.broker.protocol = PROTOCOL;
  await site.restart();
  await site.until('the upgraded one goes on', () => site.broker.sessions.length === 3, 200);
  site.broker.deliver(single(site.party, 'y'));
  await site.until('nothing is lost', () => receipts() === 2);
});

t.test('pilots of other versions at an agent: the next one works, one too new is told who must upgrade', async (t) => {
  await using site = await startSite({ onSubmit: () => undefined });
  site.broker.deliver(single(site.party, 'x'));
  await site.until('a block is submitted', () => site.scheduler.submitted.length === 1);
  const pilot = () =>
    createPilotPeer(site.scheduler.submitted[0]?.folder ?? '', { clock: site.clock, random: systemRandom, auto: true });
  await t.rejects(pilot().dial({ protocol: FAR }), { code: 'E_VERSION', message: UPGRADE_THEM });
  t.match(site.agent.status(), { work: { waiting: 1, leased: 0 } }, 'its work waits, and its token is good still');
  await pilot().dial({ protocol: NEXT });
  await site.until('it works', () => site.broker.receipts(site.party.principal.kid).length === 1);
});

t.test('clients of other versions: a path of another version of the API is told apart from a wrong one', async (t) => {
  const setting = await startTestBroker(t);
  const user = await setting.user();
  const ask = (path: string) => user.http.json({ method: 'GET', path });
  await t.rejects(ask('/v2/invocations'), {
    code: 'E_VERSION',
    message: /speaks version 1 of the API, and GET \/v2\/invocations is of version 2; upgrade the broker/,
  });
  await t.rejects(ask('/v0/invocations'), { code: 'E_VERSION', message: /upgrade this client/ });
  await t.rejects(ask('/v1/nothing'), { code: 'E_NOT_FOUND', message: /no part of this API/ });
  t.same((await ask('/v1/invocations')) as object, { tickets: [] }, 'and its own version works on');
});

/** Says that a file was written by a version that nobody here knows; returns how to take that back. */
function fromTheFuture(file: string): { known: number; digest(): string; restore(): void } {
  const set = (version: number): void => {
    using db = new DatabaseSync(file);
    db.exec(`pragma user_version = ${version}`);
    db.exec('pragma wal_checkpoint(truncate)');
  };
  let known: number;
  {
    using db = new DatabaseSync(file);
    known = Number(db.prepare('pragma user_version').get()?.user_version);
  }
  set(known + 41);
  return {
    known,
    digest: () => createHash('sha256').update(readFileSync(file)).digest('hex'),
    restore: () => set(known),
  };
}

async function refusesToStart(t: Test, start: () => ReturnType<World['farfield']>, file: string): Promise<void> {
  const store = fromTheFuture(file);
  const before = store.digest();
  const words = new RegExp(
    `was written by a newer Farfield \\(store version ${store.known + 41}, this one knows ${store.known}\\)\\. Nothing was changed; start the newer version again`,
  );
  const { code, stdout, stderr } = await start();
  t.not(code, 0);
  t.match(stdout + stderr, words);
  t.equal(store.digest(), before, 'the file is as it was');
  store.restore();
}

t.test(
  'a store of a newer version is refused with what to do, and the older program has changed nothing',
  async (t) => {
    t.setTimeout(250_000);
    await using world = await startWorld();
    const call = async (what: string): Promise<void> => {
      const ran = await world.farfield('user', 'run', world.noop, '--endpoint', 'here', '--arg', 'x=json:1', '--json');
      t.equal(ran.code, 0, `${what}${ran.code === 0 ? '' : `: ${ran.stdout}${ran.stderr}`}`);
    };
    await call('a call runs');
    await world.json('site', 'endpoint', 'stop');
    const startAgent = () => world.farfield('site', 'endpoint', 'start', '--detach', '--json');
    await refusesToStart(t, startAgent, join(world.endpointState, 'ledger.db'));
    t.equal((await startAgent()).code, 0, 'the newer version starts');
    await call('and goes on');
    await world.json('operator', 'broker', 'stop');
    const startBroker = () => world.farfield('operator', 'broker', 'start', '--detach', '--json');
    await refusesToStart(t, startBroker, join(world.brokerState, 'broker.db'));
    t.equal((await startBroker()).code, 0, 'the newer version starts');
    await call('and goes on');
  },
);
