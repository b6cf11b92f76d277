import t from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import { parseToken, signToken } from '#kernel/jws.ts';
import { newJti } from '../kernel/parties.ts';
import { NOW, noopBatch, single } from './parts.ts';
import { type Site, startSite } from './site.ts';

const statuses = (site: Site): string[] => site.broker.receipts(site.party.principal.kid).map(({ status }) => status);
const lastStatus = (site: Site) => parseToken('farfield-status+jwt', site.broker.statuses.at(-1) ?? '').claims;

t.test('work starts a block, runs on its pilot, and leaves as a verified receipt', async (t) => {
  await using site = await startSite({ pilot: { auto: true } });
  t.equal(site.scheduler.submitted.length, 0, 'no work, no block');
  site.broker.deliver(single(site.party, 'x'));
  await site.until('a receipt', () => statuses(site).length === 1);
  t.same(statuses(site), ['succeeded']);
  t.match(site.broker.admitted, [{ items: [0] }]);
  t.equal(site.scheduler.submitted.length, 1);
  t.match(site.agent.status(), {
    state: 'open',
    link: { state: 'live' },
    work: { tickets: 0 },
    blocks: [{ state: 'running', pilots: 1 }],
  });
});

t.test('a thousand items come back, each once, over a link that is cut in the middle', async (t) => {
  await using site = await startSite({ pilot: { auto: true, slots: 4 } });
  const n = 1000;
  site.broker.acks = false;
  site.broker.deliver(noopBatch(site.party, n).part(Array.from({ length: n }, (_, i) => i)));
  await site.until('some receipts', () => statuses(site).length > 100);
  site.broker.transport.pairs.at(-1)?.cut();
  site.broker.acks = true;
  await site.until('the link is back', () => site.broker.sessions.length === 2, 200);
  const seen = () => new Set(site.broker.receipts(site.party.principal.kid).map(({ i }) => i));
  await site.until('all receipts', () => seen().size === n);
  const byItem = new Map<number, Set<string>>();
  for (const { i, attempt, status } of site.broker.receipts(site.party.principal.kid)) {
    byItem.set(i, (byItem.get(i) ?? new Set()).add(`${status} ${attempt}`));
  }
  t.ok(
    [...byItem.values()].every((each) => each.size === 1 && each.has('succeeded 1')),
    'repeats say the same',
  );
  await site.until('all are acknowledged', () => site.agent.status().ledger.packsToSend === 0);
  t.equal(site.broker.hellos[1]?.sessionEpoch, 1, 'the second hello names the first session');
});

t.test(
  'receipts that were not acknowledged are sent again after a restart, and acknowledged ones are not',
  async (t) => {
    await using site = await startSite({ pilot: { auto: true } });
    site.broker.acks = false;
    site.broker.deliver(single(site.party, 'a'));
    await site.until('a receipt', () => site.broker.outcomes.length === 1);
    await site.restart();
    await site.until('it comes again', () => site.broker.outcomes.length === 2, 200);
    site.broker.ack(...site.broker.outcomes.map(({ packNo }) => packNo));
    await site.until('it is acknowledged', () => site.agent.status().ledger.packsToSend === 0);
    await site.restart();
    await site.until('a third session', () => site.broker.sessions.length === 3, 200);
    site.broker.deliver(single(site.party, 'b'));
    await site.until('only the new one', () => site.broker.outcomes.length === 3);
    t.equal(new Set(site.broker.outcomes.map(({ packNo }) => packNo)).size, 2);
  },
);

t.test('a restart re-adopts the pilot that still runs, and its outcome counts', async (t) => {
  await using site = await startSite();
  site.broker.deliver(single(site.party, 'long'));
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  const [pilot] = site.pilots;
  if (pilot === undefined) return t.fail('no pilot');
  await site.restart();
  await pilot.dial();
  t.same(pilot.dropped, [], 'it keeps what it has');
  pilot.end(pilot.held);
  await site.until('a receipt', () => statuses(site).length === 1, 200);
  t.same(statuses(site), ['succeeded']);
  t.equal(site.scheduler.submitted.length, 1, 'and no second block was started');
});

t.test('a pilot whose job ended gives its work to another one, uncharged', async (t) => {
  await using site = await startSite();
  site.broker.deliver(single(site.party, 'x', { run: { maxFailures: 1, maxStarts: 3, timeoutS: 60 } }));
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  site.pilots[0]?.hangUp();
  site.scheduler.end('job 1', 'NODE_FAIL');
  await site.until('it runs elsewhere', () => site.pilots[1]?.launched.length === 1);
  t.match(site.pilots[1]?.launched, [{ attempt: 2 }]);
  site.pilots[1]?.end(site.pilots[1].held);
  await site.until('a receipt', () => statuses(site).length === 1);
  t.match(site.broker.receipts(site.party.principal.kid), [{ status: 'succeeded', attempt: 2 }]);
});

t.test('a pilot that is silent while its process lives loses its block, and its late outcome is refused', async (t) => {
  await using site = await startSite();
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  const [first] = site.pilots;
  const held = [...(first?.held ?? [])];
  first?.hangUp();
  await site.until('it runs elsewhere', () => site.pilots[1]?.launched.length === 1, 1000);
  t.same(site.scheduler.cancelled, ['job 1'], 'the silent one was ended');
  await t.rejects(first?.dial({ held }) ?? Promise.resolve(), { code: 'E_UNAUTHENTICATED' }, 'its key is forgotten');
});

t.test('a block token is good for one pilot', async (t) => {
  await using site = await startSite({ pilot: { auto: true } });
  site.broker.deliver(single(site.party, 'x'));
  await site.until('a receipt', () => statuses(site).length === 1);
  const folder = site.scheduler.submitted[0]?.folder ?? '';
  const { createPilotPeer } = await import('../fakes/pilot-peer.ts');
  const { systemRandom } = await import('#base/random.ts');
  const thief = createPilotPeer(folder, { clock: site.clock, random: systemRandom });
  await t.rejects(thief.dial(), { code: 'E_UNAUTHENTICATED', message: /redeemed/ });
});

t.test('three blocks that die at their start pause the endpoint, and everyone who waits is told why', async (t) => {
  await using site = await startSite({
    onSubmit: (s) => {
      const job = `job ${s.scheduler.submitted.length}`;
      setTimeout(() => s.scheduler.end(job, 'libfoo.so is missing'), 1);
    },
  });
  site.broker.deliver(single(site.party, 'x'));
  await site.until('the endpoint pauses', () => site.agent.status().state === 'paused', 200);
  t.equal(site.scheduler.submitted.length, 3, 'it does not flood the scheduler');
  t.match(site.agent.status().reason, /libfoo\.so is missing/);
  await site.until('the waiting are told', () =>
    site.broker.running.some(({ state, detail }) => state === 'waiting' && /libfoo/.test(detail)),
  );
  t.match(lastStatus(site), { state: 'paused', reason: /libfoo/ });
  await site.clock.drive(3600_000);
  t.equal(site.scheduler.submitted.length, 3);
});

t.test('a block without work ends, and the next call starts another', async (t) => {
  await using site = await startSite({ pilot: { auto: true }, config: { blocks: { slots: 2, idleS: 60 } } });
  site.broker.deliver(single(site.party, 'x'));
  await site.until('a receipt', () => statuses(site).length === 1);
  await site.until('the block ends', () => site.scheduler.cancelled.length === 1, 5000);
  t.equal(site.agent.status().blocks.length, 0);
  site.broker.deliver(single(site.party, 'y'));
  await site.until('a second receipt', () => statuses(site).length === 2);
  t.equal(site.scheduler.submitted.length, 2);
});

function cancelToken(site: Site, jti: string, changes: object = {}) {
  const { party } = site;
  const delivery = single(party, 'any');
  const { dlg } = parseToken('farfield-ticket+jwt', delivery.ticket.ticket).claims;
  const claims = {
    v: 1,
    iss: party.session.kid,
    dlg,
    aud: party.root.kid,
    jti: newJti(),
    iat: NOW,
    exp: NOW + 600,
    target: { principal: party.principal.kid, jti, items: 'all', ...changes },
  } as const;
  return { token: signToken('farfield-cancel+jwt', claims, party.session), chain: delivery.chain };
}

t.test('a cancel reaches the pilot, and is confirmed only when that says it is dead', async (t) => {
  await using site = await startSite();
  const delivery = single(site.party, 'x');
  const { jti } = parseToken('farfield-ticket+jwt', delivery.ticket.ticket).claims;
  site.broker.deliver(delivery);
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  const { token, chain } = cancelToken(site, jti);
  site.broker.cancel(7, token, chain);
  await site.until('the pilot is told', () => site.pilots[0]?.cancelled.length === 1);
  await site.until('it is acknowledged', () => site.broker.cancelAcks.includes(7));
  t.same(statuses(site), [], 'no receipt while it may live');
  site.pilots[0]?.end(site.pilots[0].held, 'cancelled', { err: { code: 'E_CANCELLED', message: 'killed' } });
  await site.until('a receipt', () => statuses(site).length === 1);
  t.same(statuses(site), ['cancelled']);
});

t.test(
  'a cancel that comes before its ticket, and across a restart, still holds; one for another ticket of that jti does not',
  async (t) => {
    await using site = await startSite({ pilot: { auto: true } });
    const [a, b] = [single(site.party, 'a'), single(site.party, 'b')];
    const jtiOf = (delivery: typeof a) => parseToken('farfield-ticket+jwt', delivery.ticket.ticket).claims.jti;
    const first = cancelToken(site, jtiOf(a));
    site.broker.cancel(1, first.token, first.chain);
    await site.until('it is acknowledged', () => site.broker.cancelAcks.includes(1));
    await site.restart();
    await site.until('a second session', () => site.broker.sessions.length === 2, 200);
    site.broker.deliver(a);
    await site.until('a receipt', () => statuses(site).length === 1);
    t.same(statuses(site), ['cancelled']);
    site.broker.deliver(b);
    await site.until('b succeeds', () => statuses(site).includes('succeeded'));
    const other = cancelToken(site, jtiOf(b), { tkt: `sha256:${'0'.repeat(64)}` });
    site.broker.cancel(2, other.token, other.chain);
    await site.until('it is acknowledged all the same', () => site.broker.cancelAcks.includes(2));
  },
);

t.test('a clock that jumps forward pauses admission until an admin has looked', async (t) => {
  await using site = await startSite({ pilot: { auto: true } });
  site.clock.jump(2 * 3600_000);
  await site.until('it notices', () => site.agent.status().state === 'paused', 5000);
  t.match(site.agent.status().reason, /jumped forward by 120 minutes/);
  t.match(lastStatus(site), { state: 'paused' });
  site.clock.jump(-2 * 3600_000);
  await site.agent.resume();
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it admits again', () => statuses(site).length === 1, 200);
});

t.test('a fenced agent stops and says so', async (t) => {
  await using site = await startSite();
  site.broker.sessions.at(-1)?.close('E_FENCED', 'another session of this key took over');
  await site.until('it ended', () => site.log.some((line) => line.includes('the broker refuses this endpoint')), 200);
  t.match(await site.agent.ended, { code: 'E_FENCED' });
});

t.test('a hello that is fenced by our own dead session is tried again', async (t) => {
  await using site = await startSite();
  site.broker.refuse = new FarfieldError('E_FENCED', 'another agent of this endpoint is connected');
  site.broker.transport.pairs.at(-1)?.cut();
  await site.clock.drive(10_000);
  site.broker.refuse = undefined;
  await site.until('it is connected again', () => site.broker.sessions.length === 2, 500);
  t.pass('within the patience');
});

t.test('revoked by a new policy, running work is ended and waiting work refused', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  site.broker.deliver(single(site.party, 'runs'), single(site.party, 'waits'));
  await site.until('one runs', () => site.pilots[0]?.launched.length === 1);
  site.writePolicy({ revoked: { kids: [site.party.session.kid] } });
  await site.agent.reload();
  await site.until('the pilot is told', () => site.pilots[0]?.cancelled.length === 1);
  site.pilots[0]?.end(site.pilots[0].held, 'cancelled', { err: { code: 'E_CANCELLED', message: 'revoked' } });
  await site.until('both ended', () => statuses(site).length === 2);
  t.same(statuses(site).sort(), ['cancelled', 'refused']);
});

t.test('a bad edit keeps the running policy, and says so', async (t) => {
  await using site = await startSite({ pilot: { auto: true } });
  const { digest } = site.agent.status().policy;
  site.writePolicy({ rulez: [] });
  await site.agent.reload();
  t.match(site.agent.status().policy, { digest, problem: /rulez/ });
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it still works', () => statuses(site).length === 1);
  site.writePolicy({ rules: [] });
  await site.agent.reload();
  t.not(site.agent.status().policy.digest, digest);
  t.equal(site.agent.status().policy.problem, undefined);
});

t.test(
  'a ledger that is full loses nothing: what began ends, what comes stays with the broker, and room lets it go on',
  async (t) => {
    await using site = await startSite({ pilot: { slots: 1 }, config: { ledgerMaxMiB: 1 } });
    const big = (k: number) => single(site.party, `${k}${'x'.repeat(40_000)}`);
    let sent = 0;
    for (; sent < 60 && site.agent.status().state === 'open'; sent++) {
      site.broker.deliver(big(sent));
      await site.until(
        'it is taken or refused',
        () => site.broker.admitted.length === sent + 1 || site.agent.status().state === 'paused',
      );
    }
    t.match(site.agent.status(), { state: 'paused', reason: /full/ });
    t.match(lastStatus(site), { state: 'paused', reason: /full/ });
    const admitted = site.broker.admitted.length;
    t.ok(admitted > 5 && admitted < sent, `${admitted} of ${sent} were admitted`);
    await site.until('the agent dials again, and asks for nothing', () => site.broker.sessions.length > 1, 500);
    // Everything that was admitted runs to its end; ended tickets give their room back.
    const done = () => new Set(site.broker.receipts(site.party.principal.kid).map(({ jti }) => jti)).size;
    await site.until(
      'all that was admitted has a receipt',
      () => {
        for (const pilot of site.pilots) {
          if (pilot.held.length > 0) pilot.finish();
        }
        return done() === admitted;
      },
      100,
    );
    t.equal(done(), admitted);
    await site.until('it opens again', () => site.agent.status().state === 'open', 500);
    site.broker.deliver(single(site.party, 'small'));
    await site.until('and admits', () => site.broker.admitted.length === admitted + 1, 200);
  },
);

t.test('node-hours are counted over calls and restarts, and the day’s ceiling refuses the next call', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  const rule = {
    name: 'a little',
    who: { pin: 'alice' },
    functions: { publisher: 'lab', names: ['test/*'] },
    runtimes: ['process'],
    resources: { nodeHoursPerDay: 0.25 },
  };
  site.writePolicy({ rules: [rule] });
  await site.agent.reload();
  const call = (text: string) =>
    single(site.party, text, { res: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 1, wallS: 360 } });
  site.broker.deliver(call('a'));
  await site.until('it runs', () => site.pilots[0]?.held.length === 1);
  await site.clock.drive(6 * 60_000);
  site.pilots[0]?.finish();
  await site.until('a receipt', () => statuses(site).length === 1);
  await site.restart();
  await site.until('a second session', () => site.broker.sessions.length >= 2, 200);
  await site.pilots[0]?.dial();
  site.broker.deliver(call('b'));
  await site.until('another tenth of an hour fits', () => site.pilots[0]?.held.length === 1);
  await site.clock.drive(5 * 60_000);
  site.pilots[0]?.finish();
  await site.until('its receipt', () => statuses(site).length === 2);
  site.broker.deliver(call('c'));
  await site.until('the third is refused', () => statuses(site).length === 3);
  const last = site.broker.receipts(site.party.principal.kid).at(-1);
  t.match(last, { status: 'refused', detail: { err: { code: 'E_CEILING' } } });
});

t.test('after a restart, a pilot that does not come back gives its work to another', async (t) => {
  await using site = await startSite();
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  await site.restart();
  await site.until('it runs elsewhere', () => site.pilots[1]?.launched.length === 1, 1000);
  t.match(site.pilots[1]?.launched, [{ attempt: 2 }]);
  t.same(site.scheduler.cancelled, ['job 1']);
  site.pilots[1]?.finish();
  await site.until('a receipt', () => statuses(site).length === 1);
});
