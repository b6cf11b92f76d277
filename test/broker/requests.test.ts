/** Who may ask for what: request tokens, hosts and origins, invitations, other people's calls and blobs. */
import { request } from 'node:https';
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { digestOf, uuidv7 } from '#kernel/ids.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/sign.ts';
import type { RequestClaims } from '#kernel/tokens/claims.ts';
import { ROUTES } from '#protos/http.ts';
import { delegate, httpOf, invitation, json, startTestBroker, type TestBroker, type TestUser } from './setting.ts';

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly body: string;
}

/** A request by hand, so that a test can bend any part of it. */
function ask(
  setting: TestBroker,
  path: string,
  headers: Record<string, string>,
  body?: Buffer,
  method = body === undefined ? 'GET' : 'POST',
): Promise<Answer> {
  const url = new URL(path, setting.broker.url);
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        ca: setting.broker.ca,
        method,
        headers,
        agent: false,
        servername: '127.0.0.1',
        checkServerIdentity: () => undefined,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const code = /"code":"(E_[A-Z0-9_]+)"/.exec(text)?.[1];
          resolve({ status: response.statusCode ?? 0, code, body: text });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function token(setting: TestBroker, signer: Signer, over: Partial<RequestClaims> = {}): string {
  const iat = Math.floor(setting.clock.now() / 1000);
  const jti = uuidv7(setting.clock.now(), systemRandom.bytes(10));
  return signToken(
    'farfield-request+jwt',
    {
      v: 1,
      iss: signer.kid,
      aud: setting.broker.brokerId,
      method: 'GET',
      url: '/v1/invocations',
      jti,
      iat,
      exp: iat + 60,
      ...over,
    },
    signer,
  );
}

const signed = (text: string, user?: TestUser): Record<string, string> => ({
  authorization: `Farfield ${text}`,
  ...(user === undefined ? {} : { 'farfield-chain': user.chain.join(',') }),
});

t.test('a request token is good for one method, URL, broker and body, for a minute, once', async (t) => {
  const setting = await startTestBroker(t);
  const user = await setting.user();
  const { session } = user;
  const now = Math.floor(setting.clock.now() / 1000);
  const good = token(setting, session);
  t.match(await ask(setting, '/v1/invocations', signed(good, user)), { status: 200 });
  t.match(await ask(setting, '/v1/invocations', signed(good, user)), { status: 401, body: /used before/ });
  const bent: [string, string, Partial<RequestClaims>][] = [
    ['another method', '/v1/invocations', { method: 'POST' }],
    ['another URL', '/v1/invocations', { url: '/v1/invocations?before=x' }],
    ['another query', '/v1/invocations?a=1', {}],
    ['another broker', '/v1/invocations', { aud: 'B'.repeat(43) }],
    ['a body that is not there', '/v1/invocations', { body: digestOf('x') }],
    ['over', '/v1/invocations', { iat: now - 200, exp: now - 140 }],
    ['of tomorrow', '/v1/invocations', { iat: now + 3600, exp: now + 3660 }],
    ['of a long life', '/v1/invocations', { exp: now + 600 }],
  ];
  for (const [name, path, over] of bent) {
    const answer = await ask(setting, path, signed(token(setting, session, over), user));
    t.ok([401, 400].includes(answer.status), `${name}: ${answer.status} ${answer.code}`);
  }
  t.match(await ask(setting, '/v1/invocations', {}), { status: 401, code: 'E_UNAUTHENTICATED' });
  t.match(await ask(setting, '/v1/invocations', { authorization: `Bearer ${token(setting, session)}` }), {
    status: 401,
  });
  t.match(await ask(setting, '/v1/invocations', signed('x.y.z', user)), { code: 'E_TOKEN_FORM' });
  const ticket = user.ticket([json(1)]);
  t.match(
    await ask(setting, '/v1/invocations', signed(ticket.text, user)),
    { code: 'E_TOKEN_TYP' },
    'a token of another type is none',
  );
});

t.test("a session key speaks for its own principal only, and not after its delegation's end", async (t) => {
  const setting = await startTestBroker(t);
  const [alice, bob] = [await setting.user(), await setting.user()];
  t.match(await ask(setting, '/v1/invocations', signed(token(setting, bob.session), alice)), { status: 401 });
  t.match(await ask(setting, '/v1/invocations', signed(token(setting, bob.session))), { code: 'E_FORBIDDEN' });
  const stranger = signerFrom(generateKey());
  const forged = delegate(setting.clock, alice.principal, stranger).split('.');
  const text = `${forged[0]}.${forged[1]}.${delegate(setting.clock, bob.principal, stranger).split('.')[2]}`;
  t.match(await ask(setting, '/v1/invocations', { ...signed(token(setting, stranger)), 'farfield-chain': text }), {
    code: 'E_TOKEN_SIGNATURE',
  });
  setting.clock.advance(2 * 3600_000);
  t.match(await ask(setting, '/v1/invocations', signed(token(setting, alice.session), alice)), {
    code: 'E_CHAIN_EXPIRED',
  });
});

t.test('another host name or a web page is refused before anything else is looked at', async (t) => {
  const setting = await startTestBroker(t);
  t.match(await ask(setting, '/livez', { host: 'evil.example' }), { status: 403 });
  t.match(await ask(setting, '/livez', { origin: 'https://evil.example' }), { status: 403 });
  t.match(await ask(setting, '/livez', {}), { status: 200 });
  t.match(await ask(setting, '/readyz', {}), { status: 200 });
  t.match(await ask(setting, '/nothing', {}), { status: 404, code: 'E_NOT_FOUND' });
});

t.test('an invitation works once, for its key, within ten minutes', async (t) => {
  const setting = await startTestBroker(t);
  const join = async (signer: Signer, secret: string, jwk = signer.jwk): Promise<unknown> => {
    const http = httpOf(setting, signer, []);
    t.teardown(() => http[Symbol.asyncDispose]());
    const body = Buffer.from(JSON.stringify({ secret, jwk }));
    return http.json({ method: 'POST', path: ROUTES.users.url, body, contentType: 'application/json' });
  };
  const [user, thief] = [signerFrom(generateKey()), signerFrom(generateKey())];
  const { secret } = await invitation(setting.broker, 'user', user.kid);
  await t.rejects(join(thief, secret), { code: 'E_ENROLMENT' });
  await t.rejects(join(thief, secret, user.jwk), { code: 'E_TOKEN_SIGNATURE' });
  await t.rejects(join(user, 'guess'), { code: 'E_ENROLMENT' });
  await join(user, secret);
  await t.rejects(join(user, secret), { code: 'E_ENROLMENT' });
  const late = signerFrom(generateKey());
  const second = await invitation(setting.broker, 'user', late.kid);
  setting.clock.advance(601_000);
  await t.rejects(join(late, second.secret), { code: 'E_ENROLMENT' });
});

t.test("another's calls are not there: status, packs, cancel, events", async (t) => {
  const setting = await startTestBroker(t);
  const [alice, bob, peer] = [await setting.user(), await setting.user(), await setting.peer()];
  const agent = await setting.connect(peer);
  const ticket = alice.ticket([json(1)], { endpoint: peer.endpoint });
  await alice.submit(ticket);
  agent.admit(await agent.received(1));
  for (const path of [`/v1/invocations/${ticket.id}`, `/v1/invocations/${ticket.id}/packs`]) {
    await t.rejects(bob.http.json({ method: 'GET', path }), { code: 'E_NOT_FOUND' });
  }
  t.same(await bob.http.json({ method: 'GET', path: '/v1/invocations' }), { tickets: [] });
  t.same(
    (await alice.http.json<{ tickets: { id: string }[] }>({ method: 'GET', path: '/v1/invocations' })).tickets.map(
      ({ id }) => id,
    ),
    [ticket.id],
  );
  const iat = Math.floor(setting.clock.now() / 1000);
  const target = { principal: alice.principal.kid, jti: ticket.jti, items: 'all' as const };
  const cancel = signToken(
    'farfield-cancel+jwt',
    {
      v: 1,
      iss: bob.session.kid,
      dlg: digestOf('x'),
      aud: peer.endpoint,
      jti: uuidv7(1e12, systemRandom.bytes(10)),
      iat,
      exp: iat + 60,
      target,
    },
    bob.session,
  );
  const body = Buffer.from(JSON.stringify({ cancel, chain: bob.chain }));
  await t.rejects(
    bob.http.json({
      method: 'POST',
      path: `/v1/invocations/${ticket.id}/cancel`,
      body,
      contentType: 'application/json',
    }),
    /E_CHAIN|delegation|principal/,
  );
});
