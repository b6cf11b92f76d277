/**
 * A full disk, at the broker and at the endpoint: new work is refused or stays where it is, by name; what runs ends and keeps its
 * results; and when there is room again everything that was taken completes, once.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import type { Client } from '../../client/ts/client.ts';
import type { Outcome } from '../../client/ts/outcome.ts';
import type { Ticket } from '../../client/ts/tracker.ts';
import { openSmallDisk, smallDiskMissing } from '../base/small-disk.ts';
import { json } from '../broker/setting.ts';
import { startWhole, type Whole } from './whole.ts';

const skip = smallDiskMissing();
const big = json('x'.repeat(50_000));
const RUNNING = 3;

/** Takes all that is left of a disk, as somebody else's job would. */
function fill(folder: string): Disposable {
  const path = join(folder, 'ballast');
  // In small pieces: the last write that fails has left less than a page.
  const piece = Buffer.alloc(4096);
  try {
    for (;;) writeFileSync(path, piece, { flag: 'a' });
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'ENOSPC') throw reason;
  }
  return { [Symbol.dispose]: () => rmSync(path) };
}

/** Calls that pilots hold, so that they end while the disk is full. */
async function runSome(whole: Whole, client: Client): Promise<Ticket[]> {
  const tickets: Ticket[] = [];
  for (let k = 0; k < RUNNING; k++)
    tickets.push((await client.submit(whole.inputOf(client, [json({ runs: k })]))).ticket);
  await whole.until('they run', () => whole.pilots[0]?.held.length === RUNNING);
  return tickets;
}

async function outcomesOf(whole: Whole, tickets: readonly Ticket[]): Promise<Outcome[]> {
  const done: Outcome[] = [];
  for (const ticket of tickets) void ticket.item(0).then((outcome) => done.push(outcome));
  await whole.until(`${tickets.length} outcomes`, () => {
    for (const pilot of whole.pilots) if (pilot.held.length > 0) pilot.finish();
    return done.length === tickets.length;
  });
  return done;
}

/** Submits until the broker says that it cannot. */
async function untilFull(submit: () => Promise<unknown>): Promise<FarfieldError> {
  for (let k = 0; k < 500; k++) {
    const refusal = await submit().then(
      () => undefined,
      (error: unknown) => FarfieldError.from(error),
    );
    if (refusal !== undefined) return refusal;
  }
  throw new Error('the disk was never full');
}

async function allEnded(t: Test, whole: Whole, client: Client, attempts: number): Promise<void> {
  const list = await client.list();
  t.ok(
    list.every(({ n, counts }) => n === (counts.succeeded ?? 0) + (counts.expired ?? 0)),
    'every call that was ever taken has ended',
  );
  t.equal(whole.pilots.flatMap(({ launched }) => launched).length, attempts, 'each ran once');
  t.same((await whole.setting.broker.status()).alarms, []);
}

t.test('a broker whose pages are used up refuses new calls, keeps results, and goes on when others end', async (t) => {
  const whole = await startWhole(t, { broker: { maxPageCount: 400 }, pilot: { auto: false, slots: 8 } });
  const { setting } = whole;
  await whole.start();
  const client = whole.login();
  await whole.until(
    'the endpoint is online',
    async () => (await setting.broker.status()).endpoints[0]?.online === true,
  );
  const running = await runSome(whole, client);
  // Work for another endpoint, which is away: its arguments lie here.
  const away = await setting.peer();
  const nowS = Math.floor(setting.clock.now() / 1000);
  const patient = whole.login({ adm: nowS + 86_400, scope: { endpoints: [away.endpoint] } });
  const input = whole.inputOf(patient, [big], { lifeS: 5 });
  const waits = { ...input, terms: { ...input.terms, endpoint: away.endpoint } };
  const refusal = await untilFull(() => patient.submit(waits));
  t.match(refusal, { code: 'E_DISK_FULL', message: /cannot grow.*Free room, then try again/ });
  const before = (await client.list()).length;
  await t.rejects(patient.submit(waits), { code: 'E_DISK_FULL' });
  t.equal((await client.list()).length, before, 'what was refused left nothing; reads go on');
  for (const pilot of whole.pilots) pilot.finish();
  // What waited is over, and gives its room back.
  const over = setting.clock.now() + 6000;
  await whole.until('it is over', () => setting.clock.now() > over);
  await setting.broker.sweep();
  t.same(
    (await outcomesOf(whole, running)).map(({ status }) => status),
    ['succeeded', 'succeeded', 'succeeded'],
    'the results are kept, and come',
  );
  const later = await client.submit(whole.inputOf(client, [json('later')]));
  t.match(await outcomesOf(whole, [later.ticket]), [{ status: 'succeeded' }], 'new work is taken again');
  await allEnded(t, whole, client, RUNNING + 1);
});

t.test(
  'a broker whose disk is full refuses new calls, and takes the results when there is room',
  { skip },
  async (t) => {
    const disk = openSmallDisk('24m');
    t.teardown(() => disk[Symbol.dispose]());
    const whole = await startWhole(t, { disk: { broker: disk.folder }, pilot: { auto: false, slots: 8 } });
    await whole.start();
    const client = whole.login();
    await whole.until(
      'the endpoint is online',
      async () => (await whole.setting.broker.status()).endpoints[0]?.online === true,
    );
    const running = await runSome(whole, client);
    const ballast = fill(disk.folder);
    const taken: Ticket[] = [];
    const refusal = await untilFull(async () => taken.push((await client.submit(whole.inputOf(client, [big]))).ticket));
    t.match(refusal, { code: 'E_DISK_FULL', message: /Free room, then try again/ });
    for (const pilot of whole.pilots) pilot.finish();
    await whole.until('the endpoint has the results', () => (whole.pilots[0]?.acked.length ?? 0) > 0);
    ballast[Symbol.dispose]();
    const outcomes = await outcomesOf(whole, [...running, ...taken]);
    t.ok(
      outcomes.every(({ status }) => status === 'succeeded'),
      'everything that was taken completes',
    );
    const later = await client.submit(whole.inputOf(client, [json('later')]));
    t.match(await outcomesOf(whole, [later.ticket]), [{ status: 'succeeded' }]);
    await allEnded(t, whole, client, RUNNING + taken.length + 1);
  },
);

t.test(
  'an endpoint whose disk is full takes nothing new, ends what runs, and goes on when there is room',
  { skip },
  async (t) => {
    const disk = openSmallDisk('24m');
    t.teardown(() => disk[Symbol.dispose]());
    const whole = await startWhole(t, { disk: { agent: disk.folder }, pilot: { auto: false, slots: 64 } });
    const agent = await whole.start();
    const client = whole.login();
    await whole.until(
      'the endpoint is online',
      async () => (await whole.setting.broker.status()).endpoints[0]?.online === true,
    );
    const running = await runSome(whole, client);
    const ballast = fill(disk.folder);
    const taken: Ticket[] = [];
    for (let k = 0; k < 200 && agent.status().state === 'open'; k++) {
      taken.push((await client.submit(whole.inputOf(client, [big]))).ticket);
      await whole.until(
        'it is taken, or cannot be',
        () => whole.pilots[0]?.held.length === RUNNING + taken.length || agent.status().state === 'paused',
      );
    }
    t.match(agent.status(), { state: 'paused', reason: /the ledger is full: .*Free room/ });
    const waits = await client.submit(whole.inputOf(client, [big]));
    taken.push(waits.ticket);
    t.match(await client.status(waits.ticket.id), { counts: { queued: 1 } }, 'the broker keeps it');
    for (const pilot of whole.pilots) pilot.finish();
    ballast[Symbol.dispose]();
    const outcomes = await outcomesOf(whole, [...running, ...taken]);
    t.ok(
      outcomes.every(({ status }) => status === 'succeeded'),
      'everything that was taken completes',
    );
    await whole.until('it is open again', () => agent.status().state === 'open');
    await allEnded(t, whole, client, RUNNING + taken.length);
  },
);
