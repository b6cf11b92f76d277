/**
 * Work for an endpoint that is away: with `--queue-for 4d` it runs after three days, and what the delegation allowed at its
 * admission is not asked again when a place is free at last.
 */
import t from 'tap';
import { json } from '../broker/setting.ts';
import { startWhole } from './whole.ts';

const HOUR_S = 3600;
const DAY_S = 24 * HOUR_S;

t.test('work waits three days for its endpoint, is admitted, waits for a place, and ends with a receipt', async (t) => {
  const whole = await startWhole(t, { pilot: { slots: 1 } });
  const { setting, endpoint, scheduler } = whole;
  const { clock } = setting;
  const first = await whole.start();
  // Both sides: an agent that stops before it has seen the welcome can say no goodbye.
  await whole.until('the endpoint is online', () => first.status().link.state === 'live');
  await whole.stop();
  await whole.until('it is gone', async () => (await setting.broker.status()).endpoints[0]?.online === false);
  const nowS = Math.floor(clock.now() / 1000);

  const hasty = whole.login();
  await t.rejects(hasty.submit(whole.inputOf(hasty, [json('hasty')])), {
    code: 'E_ENDPOINT_OFFLINE',
    message: /offline since .*--queue-for 4d --endpoint/,
  });
  t.same(await hasty.list(), [], 'what was refused left nothing');
  const patient = whole.login({ adm: nowS + 4 * DAY_S, scope: { endpoints: [endpoint] } });
  const submitted = await patient.submit(whole.inputOf(patient, [json('patient')]));
  t.match(submitted.note, /offline since .* queued/);
  const { id } = submitted.ticket;
  t.match(await patient.status(id), { counts: { queued: 1 }, reason: /offline since/ });

  // A scheduler that refuses, so that what is admitted has no place.
  const { onSubmit } = scheduler;
  scheduler.onSubmit = () => {
    throw new Error('the machine is under maintenance');
  };
  clock.advance(3 * DAY_S * 1000);
  await setting.broker.sweep();
  const agent = await whole.start();
  await whole.until('it is admitted', () => agent.status().work.waiting === 1);
  await whole.until('the endpoint waits for its machine', () => agent.status().state === 'paused');
  const later = whole.login();
  await whole.until('the broker knows', async () => (await later.status(id)).counts.admitted === 1);
  // Past the delegation's last admission: it was judged then, and is not judged again.
  clock.advance(1.5 * DAY_S * 1000);
  t.ok(clock.now() / 1000 > nowS + 4 * DAY_S);
  scheduler.onSubmit = onSubmit;
  await agent.resume();
  const last = whole.login();
  const ticket = await last.attach(id);
  const outcome = ticket.item(0);
  await whole.until('it has its receipt', async () => (await last.status(id)).counts.succeeded === 1);
  t.match(await outcome, { status: 'succeeded', attempt: 1 });
  t.equal(whole.pilots.flatMap(({ launched }) => launched).length, 1, 'it ran once');
});

t.test('what comes back too late is refused by the endpoint, with a receipt that says so', async (t) => {
  const whole = await startWhole(t);
  const { setting, endpoint } = whole;
  const { clock } = setting;
  const nowS = Math.floor(clock.now() / 1000);
  const first = await whole.start();
  // Both sides: an agent that stops before it has seen the welcome can say no goodbye.
  await whole.until('the endpoint is online', () => first.status().link.state === 'live');
  await whole.stop();
  const patient = whole.login({ adm: nowS + 4 * DAY_S, scope: { endpoints: [endpoint] } });
  await whole.until('it is gone', async () => (await setting.broker.status()).endpoints[0]?.online === false);
  const { ticket } = await patient.submit(whole.inputOf(patient, [json(1)], { lifeS: 10 * DAY_S }));
  const { id } = ticket;
  clock.advance(4 * DAY_S * 1000 + HOUR_S * 1000);
  await setting.broker.sweep();
  const agent = await whole.start();
  const later = whole.login();
  const refused = t.rejects((await later.attach(id)).item(0), {
    code: 'E_CHAIN_EXPIRED',
    message: /the endpoint refused the ticket: the delegation is over; log in again \(with --queue-for/,
  });
  await whole.until('it is refused', async () => (await later.status(id)).counts.refused === 1);
  await refused;
  t.equal(agent.status().work.tickets, 0, 'nothing waits');
  t.equal(whole.scheduler.submitted.length, 0, 'and nothing was started');
});
