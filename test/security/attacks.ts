/**
 * What a hostile broker can put into a delivery, message by message and field by field.
 *
 * Whatever may leave a trace begins with fresh honest work, so that nothing is refused merely because an attack before was.
 */
import type { LinkMessage } from '#base/link/messages.ts';
import { digestOf } from '#kernel/ids.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import { addSignature, signManifest } from '#kernel/tokens/manifest.ts';
import type { DeliveredTicket } from '#protos/generated/link.js';
import { type Delivery, NOW, noopBatch, single } from '../agent/parts.ts';
import { delegationClaims, newDelegation, newParty, newSigner, type Party, ticketClaims } from '../kernel/parties.ts';
import { type Honest, noteHonest } from './bench.ts';
import {
  attacker,
  changedText,
  forgers,
  headerMutations,
  inOwnName,
  isObject,
  type Json,
  mutations,
  takeApart,
  textMutations,
} from './mutations.ts';

export interface Attack {
  /** Row of the table. */
  readonly message: string;
  readonly group: string;
  readonly what: string;
  readonly send: LinkMessage[];
  /** A genuine ticket under a genuine chain: the agent may note its refusal, or do the honest work. */
  readonly trusted: boolean;
  /** Answers to wait for. */
  readonly answers: number;
}

export interface Scene {
  readonly party: Party;
  /** Somebody else whom the site trusts as well. */
  readonly bob: Party;
  readonly honest: Honest;
}

const groupOf = (path: string): string => path.split(/[.[]/)[0] || '(whole)';

export function deliverOf(delivery: Delivery, changes: Partial<DeliveredTicket> = {}): LinkMessage {
  return {
    deliver: {
      tickets: [{ ...delivery.ticket, ...changes }],
      chains: [{ links: [...delivery.chain] }],
      manifests: [delivery.manifest],
    },
  } as LinkMessage;
}

export function honestSingle({ party, honest }: Scene, text = 'honest'): Delivery {
  const delivery = single(party, text);
  const { claims } = takeApart(delivery.ticket.ticket);
  const args = isObject(claims) ? claims.args : null;
  noteHonest(honest, party, delivery, Buffer.from(JSON.stringify({ args })));
  return delivery;
}

export function honestBatch({ party, honest }: Scene): Delivery {
  const delivery = noopBatch(party, 3).part([0, 1, 2]);
  noteHonest(honest, party, delivery, new Uint8Array());
  return delivery;
}

const one = (message: string, group: string, what: string, send: LinkMessage, trusted = false): Attack => ({
  message,
  group,
  what,
  send: [send],
  trusted,
  answers: 1,
});

/** Claims, header and letters of the ticket, under every signature that is to be had. */
export function* onTicket(scene: Scene, message: string, fresh: () => Delivery): Generator<Attack> {
  const { party } = scene;
  const others = {
    publisher: party.publisher,
    'the endpoint': party.online,
    'the long-term key': party.principal,
    bob: scene.bob.session,
  };
  for (const forger of forgers(others)) {
    // One ticket for all: what is refused as a forgery leaves no trace that could refuse the next one.
    const delivery = fresh();
    const parts = takeApart(delivery.ticket.ticket);
    for (const { path, how, value } of mutations(parts.claims)) {
      const ticket = forger.forge({ ...parts, claims: value });
      yield one(message, groupOf(path), `${path} ${how}, ${forger.name}`, deliverOf(delivery, { ticket }));
    }
    for (const { path, how, value } of headerMutations(parts.header)) {
      const ticket = forger.forge({ ...parts, header: value });
      yield one(message, 'header', `${path} ${how}, ${forger.name}`, deliverOf(delivery, { ticket }));
    }
  }
  const delivery = fresh();
  for (const [what, ticket] of textMutations(delivery.ticket.ticket)) {
    yield one(message, '(letters)', what, deliverOf(delivery, { ticket }));
  }
}

/** The delegation bent under an honest ticket, and chains of other length and order. */
export function* onChain(scene: Scene): Generator<Attack> {
  const { party, bob } = scene;
  const withChain = (chain: string[]): LinkMessage => deliverOf({ ...honestSingle(scene), chain });
  const parts = takeApart(newDelegation(party));
  for (const forger of forgers({
    'the session key': party.session,
    publisher: party.publisher,
    'the endpoint': party.online,
  })) {
    for (const { path, how, value } of mutations(parts.claims)) {
      const chain = [forger.forge({ ...parts, claims: value })];
      yield one('delegation', groupOf(path), `${path} ${how}, ${forger.name}`, withChain(chain));
    }
    for (const { path, how, value } of headerMutations(parts.header)) {
      yield one(
        'delegation',
        'header',
        `${path} ${how}, ${forger.name}`,
        withChain([forger.forge({ ...parts, header: value })]),
      );
    }
  }
  for (const [what, text] of textMutations(newDelegation(party)))
    yield one('delegation', '(letters)', what, withChain([text]));
  const own = newDelegation(party);
  const chains: [string, string[]][] = [
    ['none', []],
    ['twice', [own, own]],
    ['of bob', [newDelegation(bob)]],
    ['with bob’s behind', [own, newDelegation(bob)]],
    ['bob’s before', [newDelegation(bob), own]],
    [
      'another delegation of the same person to the same key',
      [newDelegation(party, { exp: NOW + 7200, adm: NOW + 7200 })],
    ],
    ['a wider scope', [newDelegation(party, { scope: { define: true } })]],
    ['a ticket in its place', [single(party, 'x').ticket.ticket]],
    ['five links', [own, own, own, own, own]],
  ];
  for (const [what, chain] of chains) yield one('delegation', '(chain)', what, withChain(chain));
}

/** The manifest's payload, signatures and headers; ticket and chain are genuine, so a refusal may be noted. */
export function* onManifest(scene: Scene): Generator<Attack> {
  const { party } = scene;
  const withManifest = (text: string): LinkMessage =>
    deliverOf({ ...honestSingle(scene), manifest: Buffer.from(text) });
  const say = (group: string, what: string, text: string): Attack =>
    one('manifest', group, what, withManifest(text), true);
  const whole = JSON.parse(party.manifest) as {
    payload: string;
    signatures: { protected: string; signature: string }[];
  };
  const [first] = whole.signatures;
  const { header, claims, signature } = takeApart(`${first?.protected}.${whole.payload}.${first?.signature}`);
  const signers: [string, (text: string) => string][] = forgers({ 'the session key': party.session }).map((forger) => [
    forger.name,
    (payload) => forger.forge({ header, claims: JSON.parse(payload) as Json, signature }),
  ]);
  for (const { path, how, value } of mutations(claims)) {
    for (const [name, sign] of signers) {
      const [head, payload, sig] = sign(JSON.stringify(value)).split('.');
      const text = JSON.stringify({ payload, signatures: [{ protected: head, signature: sig }] });
      yield say(groupOf(path), `${path} ${how}, ${name}`, text);
    }
  }
  for (const { path, how, value } of mutations(whole as unknown as Json)) {
    yield say('(envelope)', `${path} ${how}`, JSON.stringify(value));
  }
  for (const { path, how, value } of headerMutations(header)) {
    const head = Buffer.from(JSON.stringify(value)).toString('base64url');
    yield say('header', `${path} ${how}`, JSON.stringify({ ...whole, signatures: [{ ...first, protected: head }] }));
  }
  const other = newParty({ ...party.manifestClaims, adapter: 'exec' });
  yield say('(whole)', 'of another function, signed by the attacker', signManifest(other.manifestClaims, [attacker]));
  yield say(
    '(whole)',
    'of another function, signed by the publisher',
    signManifest(other.manifestClaims, [party.publisher]),
  );
  yield say('(whole)', 'signed by the attacker alone', signManifest(party.manifestClaims, [attacker]));
  yield say('(whole)', 'with the attacker’s signature as well', addSignature(party.manifest, attacker));
}

const flip = (bytes: Uint8Array, at: number): Uint8Array => bytes.map((byte, k) => (k === at ? byte ^ 1 : byte));

/** What may stand in the place of a field of the frame. */
function* fieldChanges(value: unknown): Generator<[string, unknown]> {
  if (typeof value === 'string') {
    yield ['changed', changedText(value)];
    yield ['emptied', ''];
    yield ['longer', `${value}a`];
  } else if (typeof value === 'number') {
    for (const next of [value + 1, 7, 2 ** 31, 2 ** 32 - 1]) yield [`${next}`, next];
  } else if (value instanceof Uint8Array) {
    for (let k = 0; k < value.byteLength; k++) yield [`bit of byte ${k}`, flip(value, k)];
    yield ['emptied', new Uint8Array()];
    yield ['one byte fewer', value.subarray(1)];
    yield ['one byte more', Buffer.concat([value, Buffer.from('x')])];
    yield ['a third fewer', value.subarray(0, Math.floor(value.byteLength / 3))];
    yield ['twice', Buffer.concat([value, value])];
    yield ['turned round', Uint8Array.from(value).reverse()];
  } else if (Array.isArray(value)) {
    const list = value as number[];
    yield ['emptied', []];
    yield ['the first missing', list.slice(1)];
    yield ['one twice', [...list, ...list.slice(0, 1)]];
    yield ['an extra', [...list, 1]];
    yield ['reversed', [...list].reverse()];
    for (const [k, each] of list.entries()) {
      for (const next of [each + 1, each - 1, 4095, 2 ** 32 - 1]) yield [`${k} is ${next}`, list.with(k, next)];
    }
  }
}

/** Every field of the delivery that is no token: labels, items, sizes, bytes. */
export function* onDelivery(scene: Scene): Generator<Attack> {
  for (const [message, fresh] of [
    ['Deliver (single)', () => honestSingle(scene)],
    ['Deliver (batch)', () => honestBatch(scene)],
  ] as const) {
    for (const field of Object.keys(fresh().ticket) as (keyof DeliveredTicket)[]) {
      if (field === 'ticket') continue;
      for (const [how, value] of fieldChanges(fresh().ticket[field])) {
        yield one(message, field, `${field} ${how}`, deliverOf(fresh(), { [field]: value }), true);
      }
    }
    const [a, b] = [fresh(), fresh()];
    const other: Partial<DeliveredTicket> = {
      items: b.ticket.items,
      itemSizes: b.ticket.itemSizes,
      itemBytes: b.ticket.itemBytes,
    };
    yield one(
      message,
      'ticket',
      'with the leaves of another',
      deliverOf(a, { leaves: b.ticket.leaves, ...other }),
      true,
    );
    yield one(
      message,
      'ticket',
      'with leaves where there are none',
      deliverOf(fresh(), { leaves: new Uint8Array(32) }),
      true,
    );
  }
  const batch = honestBatch(scene).ticket;
  const mixed = { ...honestSingle(scene).ticket, leaves: batch.leaves, items: batch.items, itemSizes: batch.itemSizes };
  yield one(
    'Deliver (single)',
    'ticket',
    'as if it were a batch',
    deliverOf(honestSingle(scene), { ...mixed, itemBytes: batch.itemBytes }),
    true,
  );
  yield one(
    'Deliver (batch)',
    'ticket',
    'as if it were single',
    deliverOf(honestBatch(scene), { items: [0], itemSizes: [], itemBytes: new Uint8Array(), leaves: new Uint8Array() }),
    true,
  );
}

/** Tokens that a good key signed, in a place or at a time that is not theirs. */
export function* onSigned(scene: Scene): Generator<Attack> {
  const { party, bob } = scene;
  const other = newSigner();
  const made = (changes: Partial<Claims<'farfield-ticket+jwt'>>): Delivery => single(party, 'x', changes);
  const say = (what: string, delivery: Delivery, trusted: boolean): Attack =>
    one('genuine, misplaced', groupOf(what.replace(/ .*/, '')), what, deliverOf(delivery), trusted);
  yield say('aud of another endpoint', made({ aud: other.kid }), false);
  for (const aud of [[party.root.kid], [party.root.kid, other.kid]])
    yield say('aud is a list', made({ aud: aud as never }), false);
  yield say('exp is over', made({ iat: NOW - 3000, exp: NOW - 2000 }), true);
  yield say('exp beyond the policy’s life', made({ exp: NOW + 400 * 86_400 }), true);
  yield say('iat before the delegation', made({ iat: NOW - 90_000 }), false);
  yield say('iat before the ledger was lost', made({ iat: NOW - 3000 }), true);
  yield say('iat in the future', made({ iat: NOW + 1000 }), true);
  yield say('sub of bob', made({ sub: { iss: 'pin', id: 'bob' } }), false);
  yield say('sub of another issuer', made({ sub: { iss: 'campus', id: 'alice' } }), false);
  yield say('grp asked for', made({ grp: 'admins' }), true);
  yield say(
    'res above the rule',
    made({ res: { nodes: 1000, cpusPerNode: 4, gpusPerNode: 0, memMiBPerNode: 4096, wallS: 600 } }),
    true,
  );
  yield say(
    'fn of another name',
    made({ fn: { name: 'test/other', version: '1.2.0', manifest: party.manifestDigest } }),
    true,
  );
  yield say('out to a path', made({ out: { maxBytes: 1, to: { path: '/etc/cron.d/x' } } }), true);
  yield say(
    'args outside the rule',
    made({ args: [{ name: 'x', type: 'json', at: 'endpoint', path: '/etc/shadow' }] }),
    true,
  );
  yield say('enc is reserved', made({ enc: 'x' } as never), false);
  for (const [what, changes] of [
    ['dlg is over', { iat: NOW - 7200, exp: NOW - 3600, adm: NOW - 3600 }],
    ['dlg for another endpoint', { scope: { endpoints: [other.kid] } }],
    ['dlg for other functions', { scope: { functions: ['other/*'] } }],
    ['dlg of thirteen hours', { exp: NOW + 13 * 3600, adm: NOW + 13 * 3600 }],
    ['dlg not yet', { iat: NOW + 1000 }],
  ] as const) {
    const chain = newDelegation(party, changes as never);
    const ticket = signToken('farfield-ticket+jwt', asTicket(party, chain), party.session);
    yield say(
      what,
      { ...single(party, 'honest'), chain: [chain], ticket: { ...single(party, 'honest').ticket, ticket } },
      false,
    );
  }
  yield* otherTypes(scene);
  for (const [what, delivery] of [
    ['chain of bob under a ticket of alice', { ...made({}), chain: [newDelegation(bob)] }],
    ['ticket of bob for alice’s rule', single(withRoot(bob, party), 'x')],
    ['ticket wholly by a stranger', stranger(scene)],
  ] as const) {
    // Bob is trusted, and no rule is his: that refusal is noted.
    yield say(what, delivery, what.startsWith('ticket of bob'));
  }
}

const withRoot = (party: Party, { root, publisher, manifest, manifestDigest }: Party): Party => ({
  ...party,
  root,
  publisher,
  manifest,
  manifestDigest,
});

function asTicket(party: Party, delegation: string): Claims<'farfield-ticket+jwt'> {
  const bytes = Buffer.from(JSON.stringify('honest'));
  return ticketClaims(party, digestOf(delegation.slice(0, delegation.lastIndexOf('.'))), {
    fn: { name: 'test/noop', version: '1.2.0', manifest: party.manifestDigest },
    mdl: [],
    args: [{ name: 'x', type: 'json', at: 'inline', digest: digestOf(bytes), size: bytes.byteLength }],
  });
}

/** Consistent in itself: own keys, own delegation to the name alice, own manifest. Only the site's trust is missing. */
export function stranger({ party }: Scene, principal: Signer = attacker): Delivery {
  const own: Party = { ...newParty(party.manifestClaims), principal, publisher: principal, root: party.root };
  const manifest = signManifest(own.manifestClaims, [principal]);
  return single({ ...own, manifest }, 'evil');
}

const TYPES = [
  'batch',
  'cancel',
  'delegation',
  'endpoint',
  'status',
  'receipt',
  'receipts',
  'hello',
  'request',
  'credential',
];

/** A ticket's claims under every other type, and tokens of other types where a ticket or a delegation is due. */
function* otherTypes(scene: Scene): Generator<Attack> {
  const { party } = scene;
  for (const name of TYPES) {
    const typ = `farfield-${name}+jwt`;
    const delivery = single(party, 'x');
    const parts = takeApart(delivery.ticket.ticket);
    const header = { alg: 'Ed25519', typ, kid: party.session.kid };
    yield one(
      'genuine, misplaced',
      'typ',
      `${typ} for a ticket`,
      deliverOf(delivery, { ticket: inOwnName({ ...parts, header }, party.session) }),
    );
    const link = takeApart(newDelegation(party));
    const other = inOwnName({ ...link, header: { alg: 'Ed25519', typ, kid: party.principal.kid } }, party.principal);
    if (name !== 'delegation')
      yield one('genuine, misplaced', 'typ', `${typ} for a delegation`, deliverOf({ ...delivery, chain: [other] }));
  }
  const claims = delegationClaims(party, { cnf: attacker.jwk });
  const chain = [
    inOwnName(
      {
        header: { alg: 'Ed25519', typ: 'farfield-delegation+jwt', kid: '' },
        claims: claims as unknown as Json,
        signature: '',
      },
      party.session,
    ),
  ];
  yield one('genuine, misplaced', 'typ', 'a session key that delegates', deliverOf({ ...single(party, 'x'), chain }));
}
