/**
 * The other messages of a hostile broker: cancels, acknowledgements, greetings, replays, and what a broker never sends.
 * Work that was asked for is neither started twice nor stopped, and its receipt is not lost.
 */
import '../leaks.ts';
import t from 'tap';
import { checkHello } from '#base/link/hello-check.ts';
import type { LinkMessage } from '#base/link/messages.ts';
import { parseToken, type Signer, signToken, tokenHash } from '#kernel/jws.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import { openMemoryLedger } from '../../agent/admission/ledger.ts';
import { NOW } from '../agent/parts.ts';
import { newDelegation, newJti, type Party } from '../kernel/parties.ts';
import { type Attack, deliverOf, honestBatch, honestSingle, type Scene } from './attacks.ts';
import { type Bench, BROKER, startBench } from './bench.ts';
import { campaign, newScene, optionsOf, print, strike, type Table } from './campaign.ts';
import {
  attacker,
  changedText,
  forgers,
  headerMutations,
  type Json,
  mutations,
  takeApart,
  textMutations,
} from './mutations.ts';

type CancelClaims = Claims<'farfield-cancel+jwt'>;

interface Victim {
  readonly jti: string;
  readonly hash: string;
}

/** A cancel as its owner would sign it, bent by `changes`. */
function cancelOf(
  owner: Party,
  victim: Victim,
  endpoint: string,
  changes: Partial<CancelClaims> = {},
  signer: Signer = owner.session,
) {
  const chain = newDelegation(owner);
  const claims: CancelClaims = {
    v: 1,
    iss: signer.kid,
    dlg: tokenHash(chain),
    aud: endpoint,
    jti: newJti(),
    iat: NOW - 5,
    exp: NOW + 600,
    target: { principal: owner.principal.kid, jti: victim.jti, items: 'all', tkt: victim.hash },
    ...changes,
  };
  return { token: signToken('farfield-cancel+jwt', claims, signer), chain };
}

let cancelNo = 0;
function strikeOf(group: string, what: string, token: string, links: string[], trusted = false): Attack {
  const cancel: LinkMessage = { cancel: { cancelNo: ++cancelNo, token, chain: { links } } };
  return { message: 'Cancel', group, what, send: [cancel], trusted, answers: 1 };
}

const groupOf = (path: string): string => path.split(/[.[]/)[0] || '(whole)';

/** Cancels that their owner never signed. */
function* forgedCancels({ party }: Scene, victim: Victim): Generator<Attack> {
  const { token, chain } = cancelOf(party, victim, party.root.kid);
  const parts = takeApart(token);
  for (const forger of forgers({
    publisher: party.publisher,
    'the endpoint': party.online,
    'the long-term key': party.principal,
  })) {
    for (const { path, how, value } of mutations(parts.claims)) {
      yield strikeOf(groupOf(path), `${path} ${how}, ${forger.name}`, forger.forge({ ...parts, claims: value }), [
        chain,
      ]);
    }
    for (const { path, how, value } of headerMutations(parts.header)) {
      yield strikeOf('header', `${path} ${how}, ${forger.name}`, forger.forge({ ...parts, header: value }), [chain]);
    }
  }
  for (const [what, text] of textMutations(token)) yield strikeOf('(letters)', what, text, [chain]);
  const link = takeApart(chain);
  for (const forger of forgers({ 'the session key': party.session })) {
    for (const { path, how, value } of mutations(link.claims)) {
      yield strikeOf('chain', `${path} ${how}, ${forger.name}`, token, [forger.forge({ ...link, claims: value })]);
    }
  }
  yield strikeOf('chain', 'none', token, []);
  yield strikeOf('chain', 'another of the same person', token, [
    newDelegation(party, { exp: NOW + 7200, adm: NOW + 7200 }),
  ]);
  yield strikeOf('chain', 'twice', token, [chain, chain]);
}

/** Cancels that a good key signed, for what is not its own, not here, or not now. */
function* misplacedCancels({ party, bob }: Scene, victim: Victim, ticket: string): Generator<Attack> {
  const here = party.root.kid;
  const say = (what: string, { token, chain }: { token: string; chain: string }, trusted = false): Attack =>
    strikeOf('(misplaced)', what, token, [chain], trusted);
  yield say('for another endpoint', cancelOf(party, victim, bob.root.kid));
  yield say('over', cancelOf(party, victim, here, { iat: NOW - 3000, exp: NOW - 2000 }));
  yield say('from the future', cancelOf(party, victim, here, { iat: NOW + 3000, exp: NOW + 4000 }));
  yield say('before its delegation', cancelOf(party, victim, here, { iat: NOW - 90_000 }));
  yield say('by the long-term key itself', cancelOf(party, victim, here, {}, party.principal));
  const stolen = { principal: party.principal.kid, jti: victim.jti, items: 'all' } as const;
  yield say('by bob, for what is alice’s', cancelOf(bob, victim, here, { target: stolen }));
  yield say('a stranger’s own', cancelOf({ ...bob, principal: attacker, session: attacker }, victim, here));
  const { chain } = cancelOf(party, victim, here);
  yield strikeOf('(misplaced)', 'a ticket in its place', ticket, [chain]);
  // These two hold, and write their tombstone: for a ticket that is not here.
  yield say(
    'of the same jti and another ticket',
    cancelOf(party, { ...victim, hash: `sha256:${'0'.repeat(64)}` }, here),
    true,
  );
  yield say('bob’s own, of the same jti', cancelOf(bob, victim, here), true);
}

/** Honest work that runs, and what a cancel would have to name. */
async function running(bench: Bench, scene: Scene): Promise<Victim & { ticket: string }> {
  const delivery = honestSingle(scene);
  bench.send(deliverOf(delivery));
  await bench.settled(bench.heard.length, 1);
  const { claims, hash } = parseToken('farfield-ticket+jwt', delivery.ticket.ticket);
  return { jti: claims.jti, hash, ticket: delivery.ticket.ticket };
}

t.test('a cancel that its owner did not sign stops nothing and writes nothing; the owner’s own does', async (t) => {
  t.setTimeout(110_000);
  const scene = newScene();
  await using bench = await startBench(optionsOf(scene));
  const victim = await running(bench, scene);
  t.equal(bench.launched.length, 1, 'it runs');
  const table: Table = new Map();
  let answered = 0;
  for (const attack of [...forgedCancels(scene, victim), ...misplacedCancels(scene, victim, victim.ticket)]) {
    const said = bench.heard.length;
    await strike(bench, attack, table, { finish: false });
    if (bench.heard.slice(said).some((message) => message.cancelAck !== undefined)) answered += 1;
    if (bench.cancelled.length > 0) return t.fail(`${attack.group}: ${attack.what} stopped it`);
  }
  const total = print(t, table, 'a hostile broker cancels');
  t.equal(bench.cancelled.length, 0, 'nothing was stopped');
  t.equal(total.started + total.rowsEarly, 0);
  t.equal(answered, total.tried, 'each was answered: one that does not hold will not hold later');
  t.ok(total.tried > 500, `${total.tried} were tried`);
  const { token, chain } = cancelOf(scene.party, victim, scene.party.root.kid);
  bench.send({ cancel: { cancelNo: ++cancelNo, token, chain: { links: [chain] } } });
  await bench.settled(bench.heard.length, 1);
  t.equal(bench.cancelled.length, 1, 'control: the owner’s own cancel reaches the pilot');
});

t.test('one ticket delivered again and again, together, after its end and after a restart, runs once', async (t) => {
  const scene = newScene();
  const ledger = openMemoryLedger();
  const options = { ...optionsOf(scene), ledger };
  const deliveries = [honestSingle(scene), honestBatch(scene)];
  let tried = 0;
  const flood = async (bench: Bench, life: number): Promise<void> => {
    for (let epoch = 1; epoch <= 20; epoch++) {
      const said = bench.heard.length;
      bench.send(
        ...deliveries.map((delivery) =>
          deliverOf(delivery, { deliveryEpoch: life * 100 + epoch, id: `epoch ${epoch}` }),
        ),
      );
      tried += deliveries.length;
      // Every other time without waiting: many are judged at once.
      if (epoch % 2 === 0) await bench.settled(said, 2);
    }
    await bench.settled(bench.heard.length, 1);
  };
  const first = await startBench(options);
  await flood(first, 1);
  t.equal(first.launched.length, 4, 'while it runs');
  await first.finish();
  await first.settled(first.heard.length, 2);
  const packNos = first.heard.flatMap(({ outcome }) => (outcome === undefined ? [] : [outcome.packNo]));
  first.send({ outcomeAck: { packNos } });
  await first.settled(first.heard.length, 1);
  await flood(first, 2);
  t.equal(first.launched.length, 4, 'after its end');
  t.same(first.wrong, []);
  await first[Symbol.asyncDispose]();
  await using second = await startBench({ ...options, before: first.launched });
  await flood(second, 3);
  t.equal(second.launched.length, 4, 'after a restart');
  t.same(second.wrong, []);
  t.comment(`replays tried ${tried}, started ${second.wrong.length}`);
});

t.test('acknowledgements of packs that were never sent lose no receipt', async (t) => {
  const scene = newScene();
  await using bench = await startBench(optionsOf(scene));
  const outcomes = (): number => bench.heard.filter(({ outcome }) => outcome !== undefined).length;
  const delivery = honestSingle(scene);
  bench.send(deliverOf(delivery));
  await bench.settled(bench.heard.length, 1);
  const packNos = [0, 2 ** 31, 2 ** 53 - 1, ...Array.from({ length: 500 }, (_, k) => k + 1)];
  bench.send({ outcomeAck: { packNos } }, { outcomeAck: { packNos: [] } });
  await bench.settled(bench.heard.length, 1);
  await bench.finish();
  await bench.settled(bench.heard.length, 1);
  await bench.settled(bench.heard.length, 1);
  t.equal(outcomes(), 1, 'the pack leaves all the same');
  const no = bench.heard.find(({ outcome }) => outcome !== undefined)?.outcome?.packNo ?? 0;
  bench.send({ outcomeAck: { packNos: [no, no] } });
  await bench.settled(bench.heard.length, 1);
  bench.send(deliverOf(delivery));
  await bench.settled(bench.heard.length, 1);
  t.equal(bench.harness.again, 1, 'and a broker that lied about having it is given it again');
  t.same(bench.wrong, []);
});

t.test('what a broker never sends starts nothing, whether the session survives it or not', async (t) => {
  const scene = newScene();
  const item = { key: 1, attempt: 1, leaseEpoch: 1 };
  const bodies: [string, LinkMessage][] = [
    ['challenge', { challenge: { acceptor: BROKER, nonce: 'x'.repeat(32), protocolMin: 1, protocolMax: 1 } }],
    ['hello', { hello: { token: 't', descriptor: 'd', status: 's', protocolMin: 1, protocolMax: 1 } }],
    ['welcome', { welcome: { protocol: 1, sessionEpoch: 9 } }],
    ['credit', { credit: { items: 2 ** 40, bytes: 2 ** 40 } }],
    ['admitted', { admitted: { tickets: [{ id: 'x', deliveryEpoch: 1, items: [0] }] } }],
    ['refusal', { refusal: { id: 'x', deliveryEpoch: 1, items: [0], receipt: 'r' } }],
    ['outcome', { outcome: { packNo: 1, pack: { receipts: 'r', principal: 'p', tickets: [], details: [] } } }],
    ['cancelAck', { cancelAck: { cancelNos: [1] } }],
    ['running', { running: { id: 'x', items: [0], state: 'running', detail: '', done: 0, total: 0, attempt: 1 } }],
    ['log', { log: { id: 'x', item: 0, attempt: item.attempt, offset: 0, data: new Uint8Array(8), dropped: 0 } }],
    ['status', { status: { token: 't' } }],
    ['handBack', { handBack: { handBackNo: 1, ticket: honestSingle(scene).ticket } }],
    ['(empty)', {}],
  ];
  const attacks = bodies.map(
    ([message, send]): Attack => ({ message, group: '', what: message, send: [send], trusted: false, answers: 0 }),
  );
  const table: Table = new Map();
  t.same(await campaign(optionsOf(scene), attacks, table), []);
  for (let k = 0; k < 64; k++) {
    await using bench = await startBench(optionsOf(scene));
    const rows = bench.harness.ledger.stats().commands;
    bench.sendBytes(Buffer.from(Array.from({ length: 40 }, (_, i) => (k * 97 + i * 31) & 255)));
    await bench.settled(bench.heard.length, 1);
    if (bench.launched.length > 0 || bench.harness.ledger.stats().commands > rows) t.fail(`garbage ${k} did something`);
  }
  const total = print(t, table, 'messages that a broker never sends');
  t.equal(total.started + total.rowsEarly + total.honest, 0);
});

t.test('a hello is signed for the enrolled broker alone, and is void anywhere else', async (t) => {
  const scene = newScene();
  const { party } = scene;
  const other = 'the-honest-broker-that-is-attacked';
  const nonce = 'fresh-nonce-of-the-honest-broker';
  const helloOf = (bench: Bench): string | undefined =>
    bench.heard.find(({ hello }) => hello !== undefined)?.hello?.token;
  for (const acceptor of [other, '', changedText(BROKER), `${BROKER}x`]) {
    await using bench = await startBench({ ...optionsOf(scene), challenge: { acceptor } });
    t.equal(helloOf(bench), undefined, `nothing is signed for "${acceptor}"`);
    t.match(bench.heard, [{ bye: { code: 'E_AUDIENCE' } }]);
  }
  for (const [protocolMin, protocolMax] of [
    [0, 0],
    [2, 9],
    [9, 2],
    [2 ** 31, 2 ** 31],
  ] as const) {
    await using bench = await startBench({ ...optionsOf(scene), challenge: { protocolMin, protocolMax } });
    t.equal(helloOf(bench), undefined);
    t.match(bench.heard, [{ bye: { code: 'E_VERSION', message: /upgrade/ } }]);
  }
  for (const protocol of [0, 2, 2 ** 31]) {
    await using bench = await startBench({ ...optionsOf(scene), welcome: { protocol } });
    bench.send(deliverOf(honestSingle(scene)));
    await bench.settled(bench.heard.length, 1);
    t.equal(bench.launched.length, 0, `a welcome to version ${protocol} opens nothing`);
  }
  // The attacker hands the honest broker's nonce to the agent and carries the answer back.
  await using bench = await startBench({ ...optionsOf(scene), challenge: { nonce } });
  const token = helloOf(bench) ?? '';
  const expectation = (acceptor: string) => ({
    acceptor,
    nonce,
    protocol: { min: 1, max: 1 },
    keyOf: () => party.online.jwk,
    nowMs: NOW * 1000,
  });
  t.equal(
    (await checkHello(token, expectation(BROKER))).claims.sub,
    party.root.kid,
    'control: good where it was meant',
  );
  await t.rejects(checkHello(token, expectation(other)), { code: 'E_AUDIENCE' });
  let tried = 0;
  const parts = takeApart(token);
  const toOther: Json = { ...(parts.claims as { [key: string]: Json }), aud: other };
  for (const forger of forgers({ 'the session key': party.session, 'the root': party.root })) {
    for (const { value } of [{ value: toOther }, ...mutations(toOther)]) {
      tried += 1;
      const accepted = await checkHello(forger.forge({ ...parts, claims: value }), expectation(other)).catch(
        () => undefined,
      );
      if (accepted !== undefined) t.fail(`accepted ${JSON.stringify(value)} by ${forger.name}`);
    }
  }
  t.comment(`hellos altered and relayed: ${tried} tried, 0 accepted`);
});
