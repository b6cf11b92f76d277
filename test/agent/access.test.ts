/** Asking for access and granting it: what a stranger, a broker in between and an editor of files can and cannot do. */
import '../leaks.ts';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { ACCESS_NOTICE } from '#kernel/access.ts';
import { matchSubject } from '#kernel/admission-steps.ts';
import { openChain } from '#kernel/chain.ts';
import { parseToken, signToken, tokenHash } from '#kernel/jws.ts';
import { matchRule } from '#kernel/policy/match.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { MAX_NEW_PER_HOUR, MAX_WAITING_OF_ONE, openAccessDesk, readRequests } from '../../agent/admission/access.ts';
import { changeGrants } from '../../agent/admission/grants.ts';
import { openPolicy, readGrantedPolicy } from '../../agent/admission/policy.ts';
import { openIdentity } from '../../agent/identity/identity.ts';
import { NOW, newDelegation, newParty, type Party, ticketClaims } from '../kernel/parties.ts';
import { asks, DAY_S, type Office, openOffice, uid } from './access-setting.ts';
import { single } from './parts.ts';
import { startSite } from './site.ts';

/** The rule that takes a call of this key to a function of this name, by the policy in force. */
function ruleFor({ policy }: Office, who: Party, name = 'bob'): string | undefined {
  const pin = policy.current.authorities.pinned.get(who.principal.kid);
  if (pin === undefined) return undefined;
  const chain = openChain([newDelegation(who, { sub: { iss: 'pin', id: name } })]);
  const claims = ticketClaims(who, chain.delegation.hash, { sub: { iss: 'pin', id: name } });
  const token = parseToken('farfield-ticket+jwt', signToken('farfield-ticket+jwt', claims, who.session));
  const publishers = policy.current.authorities.publisherKeys;
  const manifest = openManifest(who.manifest, [...publishers, who.publisher.jwk]);
  const subject = matchSubject(pin.name, token, chain, { ...manifest, signedBy: publishers.map(() => kidOf(policy)) });
  return matchRule(policy.current, { ...subject, runtimes: undefined })?.rule.name;
}

/** As if the site's publisher had signed: who signs code is no matter of this file. */
function kidOf(policy: Office['policy']): string {
  return [...(policy.current.authorities.publishers.get('lab')?.kids ?? [])][0] ?? '';
}

const last = (text: string): Record<string, unknown> => JSON.parse(text.trim().split('\n').at(-1) ?? '{}');

t.test('a request is listed with its key, its claimed name as claimed, and grants nothing by itself', async (t) => {
  const office = await openOffice(t);
  const bob = newParty();
  const answer = await office.send(asks(bob, office.endpoint));
  t.match(answer, { endpoint: office.endpoint, aud: bob.principal.kid, entries: [{ state: 'waiting' }] });
  t.equal(ruleFor(office, bob), undefined, 'default deny stays');
  const { stdout } = await office.farfield('endpoint', 'requests');
  t.match(stdout, new RegExp(bob.principal.kid));
  t.match(stdout, /claims to be "bob"; wants peaks\/braggnn; for 7 days/);
  t.match(stdout, /farfield endpoint grant r-[0-9a-f]{12} --rule "visitors"/);
});

t.test('granted, the asker has that rule until the day, hears of it, and receipts name another policy', async (t) => {
  const office = await openOffice(t);
  const bob = newParty();
  const { entries } = await office.send(asks(bob, office.endpoint));
  const before = office.policy.current.digest;
  const { code, stderr } = await office.farfield('endpoint', 'grant', entries[0]?.id ?? '', '--rule', 'visitors');
  t.equal(code, 0, stderr);
  t.equal(ruleFor(office, bob), 'visitors');
  t.not(office.policy.current.digest, before);
  t.equal(office.changes.length, 1, 'without a restart');
  const status = await office.send(asks(bob, office.endpoint, { claims: { ask: { op: 'status' } } }));
  t.match(status.entries, [{ state: 'granted', rule: 'visitors', until: NOW + 7 * DAY_S }]);
  t.match((await office.farfield('endpoint', 'requests')).stdout, /nobody waits/);
  t.match(
    (await office.farfield('policy', 'test', office.folder.policy)).stdout,
    /rule "visitors" by g-[0-9a-f]{12}: for bob/,
  );
  t.equal(ruleFor(office, newParty()), undefined, 'nobody else');
});

t.test('what was decided is told to those who asked, each of themselves, and not before it is', async (t) => {
  const office = await openOffice(t);
  const [bob, eve, pinned] = [newParty(), newParty(), newParty()];
  const [first, second] = [
    await office.send(asks(bob, office.endpoint)),
    await office.send(asks(eve, office.endpoint)),
  ];
  t.same(office.desk.notices(), [], 'waiting is no decision');
  await office.farfield('endpoint', 'grant', first.entries[0]?.id ?? '', '--rule', 'visitors');
  await office.farfield('endpoint', 'deny', second.entries[0]?.id ?? '', '--reason', 'no beamtime');
  const { kid } = pinned.principal;
  await office.farfield('endpoint', 'grant', kid, '--as', 'pinned', '--rule', 'visitors', '--until', '1d');
  const notices = office.desk.notices();
  const told = new Map(
    notices.map(({ principal, token }) => [principal, parseToken('farfield-access-answer+jwt', token).claims]),
  );
  t.same([...told.keys()].sort(), [bob.principal.kid, eve.principal.kid].sort(), 'who never asked is told nothing');
  t.match(told.get(bob.principal.kid), { aud: bob.principal.kid, req: ACCESS_NOTICE, entries: [{ state: 'granted' }] });
  t.match(told.get(eve.principal.kid)?.entries, [{ state: 'denied', reason: 'no beamtime' }]);
  t.equal(told.get(bob.principal.kid)?.entries.length, 1);
  await office.send(asks(eve, office.endpoint));
  const digest = (who: Party): string | undefined =>
    office.desk.notices().find(({ principal }) => principal === who.principal.kid)?.digest;
  t.equal(digest(eve), notices.find(({ principal }) => principal === eve.principal.kid)?.digest, 'asking is no news');
  await office.farfield('endpoint', 'revoke', bob.principal.kid);
  t.not(digest(bob), notices.find(({ principal }) => principal === bob.principal.kid)?.digest);
});

t.test('a grant ends by the clock to the second, and a clock that goes back does not bring it back', async (t) => {
  const office = await openOffice(t);
  const bob = newParty();
  await office.farfield('endpoint', 'grant', bob.principal.kid, '--as', 'bob', '--rule', 'visitors', '--until', '1h');
  await office.clock.drive(3599_000);
  t.equal(ruleFor(office, bob), 'visitors');
  await office.clock.drive(1000);
  t.equal(ruleFor(office, bob), undefined);
  await new Promise(setImmediate);
  t.equal(office.changes.length, 2, 'and whoever must act on it is told');
  office.clock.jump(-3600_000);
  t.equal(ruleFor(office, bob), undefined, 'the clock went back');
  office.policy.reload();
  t.equal(ruleFor(office, bob), undefined);
  const log = createLogger({ name: 'agent', level: 'silent' });
  const { endpoint, folder } = office;
  using next = openPolicy({
    ...{ path: folder.policy, endpoint, uid, log, onChange: () => undefined },
    ...{ nowS: () => NOW, seenS: NOW + 3600 },
  });
  t.equal(next.current.authorities.pinned.has(bob.principal.kid), false, 'nor in the next life');
});

t.test(
  'a grant over the template is refused, and one that a narrower policy leaves behind is not in force',
  async (t) => {
    const office = await openOffice(t);
    const { kid } = newParty().principal;
    const grant = (...more: string[]) => office.farfield('endpoint', 'grant', kid, '--as', 'bob', ...more);
    const cases: [string[], RegExp][] = [
      [['--rule', 'staff', '--until', '1d'], /does not list rule "staff"/],
      [['--rule', 'visitors', '--until', '31d'], /maxS/],
      [['--rule', 'visitors', '--until', '1d', '--accounts', 'OTHER'], /does not list account OTHER/],
      [['--rule', 'visitors', '--until', '1d', '--as', 'alice'], /another key is known as alice/],
      [['--rule', 'visitors', '--until', '2000-01-01'], /over already/],
    ];
    for (const [more, why] of cases) {
      const { code, stderr } = await grant(...more);
      t.not(code, 0);
      t.match(stderr, why);
    }
    t.notOk(existsSync(join(office.folder.root, 'grants.json')), 'nothing was written');
    t.equal((await grant('--rule', 'visitors', '--until', '10d', '--accounts', 'MAT')).code, 0);
    t.ok(office.policy.current.authorities.pinned.has(kid));
    office.writePolicy({ grants: { rules: ['staff'], maxS: DAY_S } });
    office.policy.reload();
    t.notOk(office.policy.current.authorities.pinned.has(kid), 'the policy decides, whatever was granted');
    t.match(office.policy.problem, /does not list rule "visitors"/);
    office.writePolicy({ grants: { rules: ['visitors'], maxS: DAY_S } });
    office.policy.reload();
    t.equal(
      office.policy.current.authorities.pinned.get(kid)?.untilS,
      NOW + DAY_S,
      'cut to what the policy allows now',
    );
    office.writePolicy({ grants: undefined });
    office.policy.reload();
    t.notOk(office.policy.current.authorities.pinned.has(kid), 'no template, no grants');
  },
);

t.test(
  'a grants file that is edited, cut off, open to others or of junk grants nothing; the rules go on',
  async (t) => {
    const office = await openOffice(t);
    const bob = newParty();
    await office.farfield('endpoint', 'grant', bob.principal.kid, '--as', 'bob', '--rule', 'visitors', '--until', '1d');
    const file = join(office.folder.root, 'grants.json');
    const good = readFileSync(file, 'utf8');
    const alice =
      [...office.policy.current.authorities.pinned.values()].find(({ name }) => name === 'alice')?.kid ?? '';
    const bad: [string, string, RegExp][] = [
      ['a later end', good.replace(String(NOW + DAY_S), String(NOW + 9 * DAY_S)), /edited by hand/],
      ['another rule', good.replace('"rule": "visitors"', '"rule": "staff"'), /edited by hand/],
      ['cut off', good.slice(0, good.length / 2), /damaged/],
      ['empty', '', /damaged/],
      ['an unknown member', good.replace('"v": 1', '"v": 1, "all": true'), /damaged/],
      ['a member twice', good.replace('"v": 1', '"v": 1, "grants": []'), /damaged/],
    ];
    for (const [name, text, why] of bad) {
      t.not(text, good, name);
      writeFileSync(file, text);
      office.policy.reload();
      t.equal(ruleFor(office, bob), undefined, name);
      t.match(office.policy.problem, why, name);
      t.ok(office.policy.current.authorities.pinned.has(alice), "the policy's own pins stay");
      const { code, stderr } = await office.farfield('endpoint', 'grant', alice, '--rule', 'visitors', '--until', '1d');
      t.not(code, 0, 'and no verb writes over it');
      t.match(stderr, why);
    }
    writeFileSync(file, good);
    chmodSync(file, 0o666);
    office.policy.reload();
    t.equal(ruleFor(office, bob), undefined);
    t.match(office.policy.problem, /others may write/);
    chmodSync(file, 0o600);
    office.policy.reload();
    t.equal(ruleFor(office, bob), 'visitors', 'put right, it holds again');
    t.equal(readGrantedPolicy(office.folder.policy, office.endpoint, uid, NOW).problems.length, 0);
  },
);

t.test(
  'what a broker does to a request is refused: altered, replayed, for another endpoint, without a right chain',
  async (t) => {
    const office = await openOffice(t);
    const [bob, eve] = [newParty(), newParty()];
    const good = asks(bob, office.endpoint);
    const [header = '', payload = '', signature = ''] = good.token.split('.');
    const greedy = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { ask: { forS: number } };
    greedy.ask.forS = 365 * DAY_S;
    const altered = [header, Buffer.from(JSON.stringify(greedy)).toString('base64url'), signature].join('.');
    const old = { exp: NOW - 1800, adm: NOW - 1800 };
    const cases: [string, { token: string; chain: readonly string[] }, string][] = [
      ['altered', { ...good, token: altered }, 'E_TOKEN_SIGNATURE'],
      ['under another chain', { ...good, chain: asks(eve, office.endpoint).chain }, 'E_TOKEN_SIGNATURE'],
      ['for another endpoint', asks(bob, eve.root.kid), 'E_AUDIENCE'],
      [
        'outside the delegation',
        asks(bob, office.endpoint, { delegation: { scope: { endpoints: [eve.root.kid] } } }),
        'E_CHAIN_SCOPE',
      ],
      [
        'by a delegation that is over',
        asks(bob, office.endpoint, { delegation: old, claims: { iat: NOW - 1900, exp: NOW - 1700 } }),
        'E_CHAIN_EXPIRED',
      ],
      [
        'by one that only waits',
        asks(bob, office.endpoint, {
          delegation: { ...old, adm: NOW + DAY_S, scope: { endpoints: [office.endpoint] } },
          claims: { iat: NOW - 1900, exp: NOW - 1700 },
        }),
        'E_CHAIN_EXPIRED',
      ],
      ['an old one', asks(bob, office.endpoint, { claims: { iat: NOW - 900, exp: NOW - 700 } }), 'E_EXPIRED'],
      ['a long one', asks(bob, office.endpoint, { claims: { exp: NOW + DAY_S } }), 'E_LIFE'],
      ['from the future', asks(bob, office.endpoint, { claims: { iat: NOW + 200, exp: NOW + 400 } }), 'E_NOT_YET'],
      [
        'a request token instead',
        {
          ...good,
          token: signToken(
            'farfield-request+jwt',
            {
              v: 1,
              iss: bob.session.kid,
              aud: 'x',
              method: 'GET',
              url: '/',
              jti: '0199a0b0-0000-7000-8000-000000000001',
              iat: NOW,
              exp: NOW + 60,
            },
            bob.session,
          ),
        },
        'E_TOKEN_TYP',
      ],
      ['no token', { token: 'x', chain: [] }, 'E_TOKEN_FORM'],
    ];
    for (const [name, asked, code] of cases) {
      const { refused, entries } = await office.send(asked);
      t.match(refused, { code }, name);
      t.same(entries, [], name);
    }
    t.same(readRequests(office.folder.access), [], 'none of them is kept');
    const [first, again] = [await office.send(good), await office.send(good)];
    t.same(again.entries, first.entries, 'the same token again is the same request');
    t.equal(first.req, tokenHash(good.token), 'an answer is to one token');
    t.equal(readRequests(office.folder.access).length, 1);
    t.same(
      (await office.send(asks(eve, office.endpoint, { claims: { ask: { op: 'status' } } }))).entries,
      [],
      'no key hears of another',
    );
  },
);

t.test('a flood fills the list and nothing else: bounded by key, by hour, and cleaned of controls', async (t) => {
  const office = await openOffice(t);
  const bob = newParty();
  for (let k = 0; k < MAX_WAITING_OF_ONE; k++) t.notOk((await office.send(asks(bob, office.endpoint))).refused);
  t.match((await office.send(asks(bob, office.endpoint))).refused, {
    code: 'E_BUSY',
    message: /of your requests wait/,
  });
  let kept = MAX_WAITING_OF_ONE;
  for (; kept < MAX_NEW_PER_HOUR; kept++) await office.send(asks(newParty(), office.endpoint));
  t.match((await office.send(asks(newParty(), office.endpoint))).refused, { code: 'E_BUSY' });
  t.equal(readRequests(office.folder.access).length, MAX_NEW_PER_HOUR);
  await office.clock.drive(31 * DAY_S * 1000);
  const later = NOW + 31 * DAY_S;
  const ask = { op: 'request' as const, reason: '\u001b[2J\u202ehello\r\n\u0007there', forS: 60 };
  const times = { iat: later, exp: later + 60 };
  const delegation = {
    iat: later - 60,
    exp: later + 600,
    adm: later + 600,
    sub: { iss: 'pin', id: 'bob\u001b]0;x\u0007' },
  };
  t.notOk((await office.send(asks(bob, office.endpoint, { claims: { ...times, ask }, delegation }))).refused);
  t.match(readRequests(office.folder.access), [{ reason: 'hello there', name: 'bob' }], 'what nobody read is gone');
  const identity = openIdentity(office.folder, NOW);
  const log = createLogger({ name: 'agent', level: 'silent' });
  const next = openAccessDesk(
    { folder: office.folder, identity, clock: createManualClock(later * 1000), log },
    office.policy,
  );
  t.ok(await next.answer('x', []), 'and a new life reads what the last one kept');
});

t.test('denied, the asker is told why; answered twice, the admin is', async (t) => {
  const office = await openOffice(t);
  const bob = newParty();
  const { entries } = await office.send(asks(bob, office.endpoint));
  const id = entries[0]?.id ?? '';
  t.equal((await office.farfield('endpoint', 'deny', id, '--reason', 'not this cycle')).code, 0);
  const status = await office.send(asks(bob, office.endpoint, { claims: { ask: { op: 'status' } } }));
  t.match(status.entries, [{ id, state: 'denied', reason: 'not this cycle' }]);
  t.match((await office.farfield('endpoint', 'grant', id, '--rule', 'visitors')).stderr, /answered before/);
  t.match(readFileSync(office.folder.audit, 'utf8'), /"event":"deny"/);
});

t.test('revoked by grant or by key, a pin included, nothing is left; without a rule a grant is a pin', async (t) => {
  const office = await openOffice(t);
  const [bob, carol] = [newParty(), newParty()];
  const granted = await office.farfield(
    'endpoint',
    'grant',
    bob.principal.kid,
    '--as',
    'bob',
    '--rule',
    'visitors',
    '--until',
    '1d',
    '--json',
  );
  t.equal(ruleFor(office, bob), 'visitors');
  t.equal((await office.farfield('endpoint', 'revoke', String(last(granted.stdout).id), '--reason', 'left')).code, 0);
  t.equal(ruleFor(office, bob), undefined);
  const status = await office.send(asks(bob, office.endpoint, { claims: { ask: { op: 'status' } } }));
  t.match(status.entries, [{ state: 'ended', reason: 'left' }]);
  t.equal((await office.farfield('endpoint', 'grant', carol.principal.kid, '--as', 'alice', '--until', '1d')).code, 0);
  t.equal(ruleFor(office, carol, 'alice'), 'staff', 'a second key of alice, as `trust` writes it');
  t.equal((await office.farfield('endpoint', 'revoke', carol.principal.kid)).code, 0);
  t.match(office.policy.current.authorities.pinned.get(carol.principal.kid), { untilS: 0 });
  t.not((await office.farfield('endpoint', 'revoke', carol.session.kid)).code, 0, 'nothing to revoke is said');
});

t.test('a claimed name that the rules know gives nothing by being claimed', async (t) => {
  const office = await openOffice(t);
  const eve = newParty();
  const asked = asks(eve, office.endpoint, { delegation: { sub: { iss: 'pin', id: 'alice' } } });
  const id = (await office.send(asked)).entries[0]?.id ?? '';
  t.match(
    (await office.farfield('endpoint', 'grant', id, '--rule', 'visitors')).stderr,
    /another key is known as alice/,
  );
  t.match((await office.farfield('endpoint', 'grant', id)).stderr, /--as NAME/);
  t.equal(ruleFor(office, eve, 'alice'), undefined);
});

t.test('a whole agent: granted access runs, and revoked while it runs it is ended', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  const { party, folder, agent } = site;
  const publishers = [{ name: 'lab', jwks: [party.publisher.jwk] }];
  const rule = { name: 'visitors', who: { granted: true }, functions: { publisher: 'lab' }, runtimes: ['process'] };
  site.writePolicy({
    authorities: { pinned: [], publishers },
    rules: [rule],
    grants: { rules: ['visitors'], maxS: 30 * DAY_S },
  });
  await agent.reload();
  const statuses = () => site.broker.receipts(party.principal.kid).map(({ status }) => status);
  site.broker.deliver(single(party, 'before'));
  await site.until('a refusal', () => site.broker.refusals.length === 1);
  const { err } = parseToken('farfield-receipt+jwt', site.broker.refusals[0]?.receipt ?? '').claims;
  t.match(err?.message, new RegExp(`farfield access request ${party.root.kid}`), 'with the one command that asks');
  const file = join(folder.root, 'grants.json');
  const times = { from: NOW - 20, until: NOW + DAY_S };
  const grant = { id: 'g-000000000001', kid: party.principal.kid, name: 'alice', rule: 'visitors', ...times };
  await changeGrants(file, folder.grantsLock, uid, (before) => ({ ...before, grants: [grant] }));
  await agent.reload();
  site.broker.deliver(single(party, 'runs'), single(party, 'waits'));
  await site.until('one runs', () => site.pilots[0]?.launched.length === 1);
  await changeGrants(file, folder.grantsLock, uid, (before) => ({
    ...before,
    grants: [],
    revoked: [{ id: grant.id, kid: grant.kid, rule: grant.rule, at: NOW }],
  }));
  await agent.reload();
  await site.until('the pilot is told', () => site.pilots[0]?.cancelled.length === 1);
  site.pilots[0]?.end(site.pilots[0].held, 'cancelled', { err: { code: 'E_CANCELLED', message: 'revoked' } });
  await site.until('both ended', () => statuses().length === 2);
  t.same(statuses().sort(), ['cancelled', 'refused']);
});
