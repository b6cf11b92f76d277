/** An item ends once, on a receipt that holds, and on nothing else. */
import '../leaks.ts';
import t from 'tap';
import { ticketId } from '#kernel/ids.ts';
import { packToJson } from '#kernel/receipts.ts';
import { verifyReceipt } from '../../client/ts/receipt-file.ts';
import { createFakeEndpoint, sendJson } from '../fakes/broker-http.ts';
import { startParts } from './parts.ts';

t.test('an item ends once: the same receipt again, or the same result in another pack, says nothing new', async (t) => {
  const { broker, endpoint, submit, notices } = await startParts(t);
  const { ticket, of } = await submit(2);
  const ended: number[] = [];
  ticket.onOutcomes(({ columns, fresh }) => ended.push(...fresh.map((k) => columns.items[k] ?? -1)));
  const pack = endpoint.pack({ ...of, items: [1] });
  for (const id of ['1.1', '1.2']) broker.terminal(pack, id);
  broker.terminal(endpoint.pack({ ...of, items: [1, 0] }), '1.3');
  const outcomes = await ticket.all();
  broker.terminal(endpoint.pack({ ...of, items: [0] }), '1.4');
  // A pack of another call of ours comes behind them: when it has ended, they were looked at.
  const next = await submit();
  broker.terminal(endpoint.pack(next.of), '1.5');
  await next.ticket.finished();
  t.same(ended, [1, 0]);
  t.same(
    outcomes.map(({ status }) => status),
    ['succeeded', 'succeeded'],
  );
  t.same(notices, []);
});

t.test('who listens late is told what ended before, and each item once', async (t) => {
  const { broker, endpoint, submit } = await startParts(t);
  const { ticket, of } = await submit(3);
  broker.terminal(endpoint.pack({ ...of, items: [2] }), '1.1');
  broker.terminal(endpoint.pack({ ...of, items: [2, 0] }), '1.2');
  await ticket.item(0);
  const ended: number[] = [];
  ticket.onOutcomes(({ fresh, outcome }) => ended.push(...fresh.map((k) => outcome(k).i)));
  t.same(ended, [2, 0]);
  broker.terminal(endpoint.pack({ ...of, items: [1] }), '1.3');
  await ticket.finished();
  t.same(ended, [2, 0, 1]);
});

t.test('a second receipt that differs changes nothing and is reported', async (t) => {
  const { broker, endpoint, submit, notices, until } = await startParts(t);
  const { ticket, of } = await submit(2);
  broker.terminal(endpoint.pack({ ...of, items: [0], result: '"first"' }), '1.1');
  t.equal(Buffer.from((await ticket.item(0)).result ?? []).toString(), '"first"');
  broker.terminal(endpoint.pack({ ...of, items: [0], result: '"second"' }), '1.2');
  broker.terminal(endpoint.pack({ ...of, items: [0], status: 'failed' }), '1.3');
  await until(() => notices.length === 2);
  for (const notice of notices) t.match(notice, new RegExp(`differing receipt for ${of.id}.0.*ask the site`));
  t.equal(Buffer.from((await ticket.item(0)).result ?? []).toString(), '"first"');
});

t.test(
  'what does not hold ends nothing: another endpoint, another ticket, a changed result, a changed signature',
  async (t) => {
    const { clock, broker, endpoint, submit, notices, until } = await startParts(t);
    const { ticket, of } = await submit();
    const foreign = createFakeEndpoint(clock);
    broker.routes.set(`GET /v1/endpoints/${foreign.id}`, (_, response) =>
      sendJson(response, { id: foreign.id, descriptor: foreign.descriptor, online: true, since: 0 }),
    );
    const good = endpoint.pack(of);
    const [column] = good.tickets;
    if (column === undefined) throw new Error('a pack without a ticket');
    const bent: [string, object, RegExp][] = [
      ['an endpoint that was not asked', packToJson(foreign.pack(of)), /by another endpoint or for another ticket/],
      [
        'another ticket',
        packToJson(endpoint.pack({ ...of, ticketHash: `sha256:${'0'.repeat(64)}` })),
        /for another ticket/,
      ],
      [
        'another principal',
        packToJson(endpoint.pack({ ...of, principal: foreign.id, id: ticketId(foreign.id, of.jti) })),
        /another principal/,
      ],
      [
        'other bytes',
        packToJson({ ...good, tickets: [{ ...column, results: Buffer.from('"no"') }] }),
        /another digest/,
      ],
      ['another status', packToJson({ ...good, tickets: [{ ...column, statuses: Buffer.from([2]) }] }), /root/],
      ['no signature of it', { ...packToJson(good), receipts: foreign.pack(of).receipts }, /./],
      ['no pack', { receipts: 'x' }, /pack/],
    ];
    for (const [k, [what, json, says]] of bent.entries()) {
      broker.emit('terminal', json, `1.${k + 1}`);
      await until(() => notices.length === k + 1);
      t.match(notices[k], says, what);
      t.equal(ticket.remaining, 1, `${what} ends nothing`);
    }
    broker.terminal(good, '1.9');
    t.equal((await ticket.item(0)).status, 'succeeded', 'the true one still does');
  },
);

t.test(
  'the receipt of one item of a batch is a file that proves itself, and every changed byte of it is found',
  async (t) => {
    const { broker, endpoint, client, submit } = await startParts(t);
    const { ticket, of } = await submit(7);
    const pack = endpoint.pack({ ...of, items: [0, 1, 2, 3, 4, 5, 6] });
    broker.routes.set(`GET /v1/invocations/${of.id}/packs`, (_, response) =>
      sendJson(response, { packs: [packToJson(pack)] }),
    );
    broker.terminal(pack, '1.1');
    await ticket.finished();
    const file = JSON.parse(JSON.stringify(await client.receipt(of.id, 4))) as Record<string, unknown>;
    t.match(verifyReceipt(file), {
      id: of.id,
      i: 4,
      endpoint: endpoint.id,
      status: 'succeeded',
      ticketHash: of.ticketHash,
    });
    const other = createFakeEndpoint({ ...(await startParts(t)).clock });
    const bends: Record<string, unknown> = {
      i: 3,
      attempt: 2,
      status: 'failed',
      result: `sha256:${'1'.repeat(64)}`,
      ticketHash: `sha256:${'1'.repeat(64)}`,
      principal: other.id,
      detail: Buffer.from('{}').toString('base64'),
      meas: 1,
      index: 5,
      proof: [],
      descriptor: other.descriptor,
      receipts: other.pack(of).receipts,
      jti: '0190f1f0-0000-7000-8000-000000000000',
      v: 2,
      more: true,
    };
    for (const [name, value] of Object.entries(bends)) t.throws(() => verifyReceipt({ ...file, [name]: value }), name);
    await t.rejects(client.receipt(of.id, 9), { code: 'E_NOT_FOUND', message: /no receipt of .*\.9 yet/ });
  },
);
