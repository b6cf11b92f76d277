/** Asking for access through a real broker, and what that broker, or another user of it, can make of it. */
import '../leaks.ts';
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { openChain } from '#kernel/chain.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { signToken, tokenHash } from '#kernel/jws.ts';
import type { AccessClaims, Claims } from '#kernel/tokens/claims.ts';
import { ROUTES } from '#protos/http.ts';
import { openAnswer } from '../../client/cli/access.ts';
import { startTestBroker, type TestBroker, type TestUser } from '../broker/setting.ts';
import type { AgentPeer, PeerSession } from '../fakes/agent-peer.ts';
import { newSigner } from '../kernel/parties.ts';

function request({ clock }: TestBroker, user: TestUser, endpoint: string, over: Partial<AccessClaims> = {}): string {
  const { delegation } = openChain(user.chain);
  const iat = Math.floor(clock.now() / 1000);
  const claims: AccessClaims = {
    v: 1,
    iss: user.session.kid,
    sub: delegation.claims.sub,
    dlg: delegation.hash,
    aud: endpoint,
    jti: uuidv7(clock.now(), systemRandom.bytes(10)),
    iat,
    exp: iat + 300,
    ask: { op: 'request', reason: 'beamtime', forS: 86_400 },
    ...over,
  };
  return signToken('farfield-access+jwt', claims, user.session);
}

function send(user: TestUser, endpoint: string, access: string, chain = user.chain): Promise<{ answer: string }> {
  return user.http.json({
    method: 'POST',
    path: ROUTES.access.url.replace(':id', endpoint),
    body: Buffer.from(JSON.stringify({ access, chain })),
    contentType: 'application/json',
  });
}

type Answer = Claims<'farfield-access-answer+jwt'>;

function answer(peer: AgentPeer, token: string, aud: string, over: Partial<Answer> = {}, signer = peer.online): string {
  const base = { v: 1, iss: signer.kid, endpoint: peer.endpoint, aud, req: tokenHash(token), iat: 0 } as const;
  return signToken('farfield-access-answer+jwt', { ...base, entries: [], ...over }, signer);
}

/** The endpoint answers the next request with this. */
async function reply(session: PeerSession, count: number, text: (token: string) => string): Promise<void> {
  await session.until(() => session.asks.length >= count);
  const ask = session.asks[count - 1];
  if (ask !== undefined) session.send({ accessReply: { askNo: ask.askNo, token: text(ask.token) } });
}

t.test('a request reaches the endpoint as it was signed, and its signed answer comes back', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, user] = [await setting.peer(), await setting.user()];
  const session = await setting.connect(peer);
  const token = request(setting, user, peer.endpoint);
  const sent = send(user, peer.endpoint, token);
  const entry = { id: 'r-000000000001', state: 'waiting' as const, at: 1 };
  await reply(session, 1, (text) => answer(peer, text, user.principal.kid, { entries: [entry] }));
  const expected = { id: peer.endpoint, online: peer.online.jwk, principal: user.principal.kid, token };
  t.same(openAnswer((await sent).answer, expected), [entry]);
  t.equal(session.asks[0]?.token, token, 'to the byte');
});

t.test('an answer that the endpoint did not give to this very request is not believed', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, user] = [await setting.peer(), await setting.user()];
  const token = request(setting, user, peer.endpoint);
  const { kid } = user.principal;
  const expected = { id: peer.endpoint, online: peer.online.jwk, principal: kid, token };
  const granted = { entries: [{ id: 'g-000000000001', state: 'granted' as const, at: 1, until: 2 }] };
  const older = request(setting, user, peer.endpoint);
  const forged: [string, string, string][] = [
    ['signed by the broker', answer(peer, token, kid, granted, newSigner()), 'E_TOKEN_SIGNATURE'],
    ['of an older request', answer(peer, older, kid, granted), 'E_RECEIPT'],
    ["to somebody else's key", answer(peer, token, newSigner().kid, granted), 'E_RECEIPT'],
    ['of another endpoint', answer(peer, token, kid, { ...granted, endpoint: newSigner().kid }), 'E_RECEIPT'],
    ['the request itself', token, 'E_TOKEN_TYP'],
    ['text', 'granted', 'E_TOKEN_FORM'],
  ];
  for (const [name, text, code] of forged) t.throws(() => openAnswer(text, expected), { code }, name);
  const refused = { refused: { code: 'E_BUSY', message: 'too\u001b[2J many' } };
  t.throws(() => openAnswer(answer(peer, token, kid, refused), expected), { code: 'E_BUSY', message: 'too many' });
});

t.test(
  'what is not the asker’s own, or for another endpoint, is not passed on; an offline endpoint is said',
  async (t) => {
    const setting = await startTestBroker(t);
    const [peer, user, eve] = [await setting.peer(), await setting.user(), await setting.user()];
    const [other, session] = [await setting.peer(), await setting.connect(peer)];
    const token = request(setting, user, peer.endpoint);
    await t.rejects(send(eve, peer.endpoint, token, user.chain), { code: 'E_FORBIDDEN' }, 'of another user');
    await t.rejects(send(user, peer.endpoint, request(setting, user, other.endpoint)), { code: 'E_AUDIENCE' });
    await t.rejects(send(user, other.endpoint, request(setting, user, other.endpoint)), { code: 'E_UNAVAILABLE' });
    await t.rejects(send(user, newSigner().kid, token), { code: 'E_ENDPOINT_UNKNOWN' });
    const nowS = Math.floor(setting.clock.now() / 1000);
    const old = request(setting, user, peer.endpoint, { iat: nowS - 900, exp: nowS - 700 });
    await t.rejects(send(user, peer.endpoint, old), { code: /E_EXPIRED|E_CHAIN_EXPIRED/ });
    t.equal(session.asks.length, 0);
  },
);

t.test('a flood ends at the broker, by key; an agent that does not answer is not waited for', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, user, other] = [await setting.peer(), await setting.user(), await setting.user()];
  const session = await setting.connect(peer);
  for (let count = 1; count <= 10; count++) {
    const sent = send(user, peer.endpoint, request(setting, user, peer.endpoint));
    await reply(session, count, (text) => answer(peer, text, user.principal.kid));
    await sent;
  }
  await t.rejects(send(user, peer.endpoint, request(setting, user, peer.endpoint)), { code: 'E_BUSY' });
  const unanswered = send(other, peer.endpoint, request(setting, other, peer.endpoint));
  await session.until(() => session.asks.length === 11);
  // As long as an agent is waited for.
  setting.clock.advance(15_000);
  await t.rejects(unanswered, { code: 'E_UNAVAILABLE', message: /did not answer/ });
  await reply(session, 11, (text) => answer(peer, text, other.principal.kid));
  const again = send(other, peer.endpoint, request(setting, other, peer.endpoint));
  await reply(session, 12, (text) => answer(peer, text, other.principal.kid));
  t.ok((await again).answer, 'the late answer found nobody, and was no reason to end the link');
});
