/** A site's decision about access finds its way to who asked: as an event, and as a line behind the next command. */
import '../leaks.ts';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ACCESS_NOTICE } from '#kernel/access.ts';
import { signToken, tokenHash } from '#kernel/jws.ts';
import type { AccessEntry, Claims } from '#kernel/tokens/claims.ts';
import { ROUTES } from '#protos/http.ts';
import { openNotice } from '../../client/cli/notices.ts';
import { openReader } from '../broker/reader.ts';
import { startTestBroker } from '../broker/setting.ts';
import type { AgentPeer, PeerSession } from '../fakes/agent-peer.ts';
import { newSigner } from '../kernel/parties.ts';
import { openPerson, type Person, type Ran } from './person.ts';

type Answer = Claims<'farfield-access-answer+jwt'>;

const entry = (over: Partial<AccessEntry> = {}): AccessEntry => ({
  ...{ id: 'g-000000000001', state: 'granted', at: 1000, until: 4_000_000_000, rule: 'visitors' },
  ...over,
});

function sign(peer: AgentPeer, aud: string, over: Partial<Answer> = {}, signer = peer.online): string {
  const base = { v: 1, iss: signer.kid, endpoint: peer.endpoint, aud, req: ACCESS_NOTICE, iat: 0 } as const;
  return signToken('farfield-access-answer+jwt', { ...base, entries: [entry()], ...over }, signer);
}

/** Asks as a person does, and the peer answers that it waits. */
async function request(person: Person, peer: AgentPeer, session: PeerSession): Promise<Ran> {
  const count = session.asks.length;
  const ran = person.farfield('access', 'request', 'site', '--reason', 'beamtime');
  await session.until(() => session.asks.length > count);
  const ask = session.asks[count];
  const entries = [entry({ id: 'r-000000000001', state: 'waiting' })];
  const token = sign(peer, person.kid, { req: tokenHash(ask?.token ?? ''), entries });
  session.send({ accessReply: { askNo: ask?.askNo ?? 0, token } });
  return ran;
}

const notice = (session: PeerSession, token: string): void => session.send({ accessReply: { askNo: 0, token } });

t.test(
  'a decision is told once, behind the next command, also where the broker was restarted in between',
  async (t) => {
    const setting = await startTestBroker(t);
    const peer = await setting.peer();
    const session = await setting.connect(peer);
    const bob = await openPerson(t, setting, peer.endpoint);
    t.equal((await request(bob, peer, session)).code, 0);
    t.notMatch((await bob.farfield('status')).stderr, /access/, 'nothing is decided yet');
    notice(session, sign(peer, bob.kid));
    await setting.until(async () => {
      const { events } = await setting.broker.store.read('events', { principal: bob.kid, after: 0, limit: 9 });
      return events.some(({ kind }) => kind === 'access');
    });
    await setting.restart();
    // Another port: what `login` would write again.
    const profile = JSON.parse(readFileSync(join(bob.home, 'profile.json'), 'utf8')) as object;
    writeFileSync(join(bob.home, 'profile.json'), JSON.stringify({ ...profile, url: setting.broker.url }));
    const first = await bob.farfield('status', '--json');
    t.equal(first.code, 0);
    t.same(JSON.parse(first.stdout), [], 'what was asked for stands alone on stdout');
    t.match(first.stderr, /^note: access at site: g-000000000001 .* granted until 2096-.* by rule "visitors"\n$/);
    t.equal((await bob.farfield('status')).stderr, '', 'and not again');
    const again = await setting.connect(peer, { sessionEpoch: session.session.epoch });
    notice(again, sign(peer, bob.kid, { iat: 5 }));
    notice(again, sign(peer, bob.kid, { entries: [entry({ state: 'ended', reason: 'beamtime\u001b[2J is over' })] }));
    await setting.until(async () => (await bob.farfield('status')).stderr.includes('beamtime is over'));
    const { events } = await setting.broker.store.read('events', { principal: bob.kid, after: 0, limit: 9 });
    t.equal(events.filter(({ kind }) => kind === 'access').length, 2, 'the same answer, signed anew, is no news');
  },
);

t.test('a reader of events gets it at once; nobody gets what they did not ask for', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, other, asker, stranger] = [
    await setting.peer(),
    await setting.peer(),
    await setting.user(),
    await setting.user(),
  ];
  const [session, second] = [await setting.connect(peer), await setting.connect(other)];
  const nowS = Math.floor(setting.clock.now() / 1000);
  await setting.broker.store.apply('accessAsked', {
    ...{ principal: asker.principal.kid, endpoint: peer.endpoint, nowS },
  });
  await using mine = await openReader(asker.http);
  await using theirs = await openReader(stranger.http);
  notice(second, sign(other, asker.principal.kid));
  notice(session, sign(peer, stranger.principal.kid));
  notice(session, sign(peer, asker.principal.kid));
  const [event] = await mine.until((all) => all.length > 0);
  t.match(event, { type: 'access', id: /^[0-9a-f]+\.1$/, data: { endpoint: peer.endpoint } });
  const { answer = '' } = (event?.data ?? {}) as { answer?: string };
  const expected = { id: peer.endpoint, online: peer.online.jwk, principal: asker.principal.kid };
  t.match(openNotice(answer, expected), [{ state: 'granted', rule: 'visitors' }]);
  // Whatever came for the others came before it, over links of the same broker: a submission of theirs is answered after that.
  await stranger.submit(stranger.ticket(undefined, { endpoint: peer.endpoint }));
  await theirs.until((all) => all.length > 0);
  t.same(
    theirs.events.map(({ type }) => type),
    ['queued'],
  );
  t.same(
    mine.events.map(({ type }) => type),
    ['access'],
    'not even from an endpoint that was never asked',
  );
  const told = { method: 'GET', path: ROUTES.accessTold.url } as const;
  t.same((await stranger.http.json<{ answers: unknown[] }>(told)).answers, []);
  t.match(await asker.http.json(told), { answers: [{ endpoint: peer.endpoint, seq: 1, answer }] });
  const seen = async (user: typeof asker): Promise<unknown> =>
    (await user.http.request({ method: 'GET', path: ROUTES.list.url })).headers['farfield-access'];
  t.match(await seen(asker), /^[0-9a-f]+\.1$/);
  t.equal(await seen(stranger), undefined);
});

t.test('what an endpoint did not sign as a notice to this key is none', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, { principal }] = [await setting.peer(), await setting.user()];
  const expected = { id: peer.endpoint, online: peer.online.jwk, principal: principal.kid };
  t.same(openNotice(sign(peer, principal.kid), expected), [entry()]);
  const forged: [string, string, string][] = [
    ['signed by the broker', sign(peer, principal.kid, {}, newSigner()), 'E_TOKEN_SIGNATURE'],
    ['the answer to a request', sign(peer, principal.kid, { req: tokenHash('x') }), 'E_RECEIPT'],
    ["to somebody else's key", sign(peer, newSigner().kid), 'E_RECEIPT'],
    ['of another endpoint', sign(peer, principal.kid, { endpoint: newSigner().kid }), 'E_RECEIPT'],
  ];
  for (const [name, text, code] of forged) t.throws(() => openNotice(text, expected), { code }, name);
});

for (const [name, bend] of [
  ['for another endpoint', { endpoint: newSigner().kid }],
  ['that is the answer to a request', { req: tokenHash('x') }],
  ['that is a refusal', { refused: { code: 'E_BUSY', message: 'no' } }],
] as [string, Partial<Answer>][]) {
  t.test(`an agent that sends a notice ${name} breaks the protocol`, async (t) => {
    const setting = await startTestBroker(t);
    const [peer, user] = [await setting.peer(), await setting.user()];
    const session = await setting.connect(peer);
    notice(session, sign(peer, user.principal.kid, bend));
    t.match(await session.ended, { kind: 'bye', by: 'peer' });
  });
}
