import t from 'tap';
import { openDescriptor, openStatus, readDescriptor } from '#kernel/endpoint.ts';
import { digestOf } from '#kernel/ids.ts';
import { signToken } from '#kernel/jws.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import { NOW, newParty, newSigner } from './parties.ts';

const { root, online } = newParty();
const descriptor = (changes: Partial<Claims<'farfield-endpoint+jwt'>> = {}, signer = root): string =>
  signToken(
    'farfield-endpoint+jwt',
    {
      v: 1,
      iss: root.kid,
      jwk: root.jwk,
      name: 'site-a',
      seq: 3,
      sign: online.jwk,
      iat: NOW - 60,
      exp: NOW + 86400,
      ...changes,
    },
    signer,
  );

t.test('a descriptor certifies itself: its id is the thumbprint of its root key', async (t) => {
  t.equal(openDescriptor(descriptor(), { endpoint: root.kid, nowS: NOW, minSeq: 3 }).claims.sign.x, online.jwk.x);
  const other = newSigner();
  t.throws(() => openDescriptor(descriptor(), { endpoint: other.kid, nowS: NOW }), { code: 'E_AUDIENCE' });
  t.throws(() => openDescriptor(descriptor({ jwk: other.jwk }), { nowS: NOW }), { code: 'E_TOKEN_SIGNATURE' });
  t.throws(() => openDescriptor(descriptor({ iss: root.kid }, other), { nowS: NOW }), { code: 'E_TOKEN_CLAIMS' });
});

t.test('a descriptor that is over, not begun, too long or rolled back is refused', async (t) => {
  t.throws(() => openDescriptor(descriptor(), { nowS: NOW + 86400 + 61 }), { code: 'E_EXPIRED' });
  t.throws(() => openDescriptor(descriptor(), { nowS: NOW - 200 }), { code: 'E_NOT_YET' });
  t.throws(() => openDescriptor(descriptor({ exp: NOW + 31 * 86400 }), { nowS: NOW }), { code: 'E_LIFE' });
  t.throws(() => openDescriptor(descriptor({ exp: NOW - 60 }), { nowS: NOW }), { code: 'E_LIFE' });
  t.throws(() => openDescriptor(descriptor(), { nowS: NOW, minSeq: 4 }), { code: 'E_CONFLICT' });
  t.throws(() => openDescriptor(descriptor({ sign: root.jwk }), { nowS: NOW }), { code: 'E_TOKEN_CLAIMS' });
  t.equal(readDescriptor(descriptor()).claims.seq, 3, 'an old one still names the key of old receipts');
});

t.test('a status counts only by the online key of its own endpoint', async (t) => {
  const token = openDescriptor(descriptor(), { nowS: NOW });
  const status = (changes: Partial<Claims<'farfield-status+jwt'>> = {}, signer = online): string =>
    signToken(
      'farfield-status+jwt',
      {
        v: 1,
        iss: signer.kid,
        endpoint: root.kid,
        iat: NOW,
        policy: digestOf('p'),
        ledgerEpoch: { n: 1, since: NOW - 100 },
        tokens: [1],
        runtimes: ['process'],
        state: 'open',
        ...changes,
      },
      signer,
    );
  t.equal(openStatus(status(), token).claims.state, 'open');
  t.throws(() => openStatus(status({}, newSigner()), token), { code: 'E_TOKEN_SIGNATURE' });
  t.throws(() => openStatus(status({ endpoint: newSigner().kid }), token), { code: 'E_AUDIENCE' });
});
