/**
 * The dialling side's signed answer to a challenge. Imports no schemas: a pilot signs one within its first milliseconds.
 */

import type { Random } from '#base/random.ts';
import { toBase64Url } from '#kernel/bytes.ts';
import { HELLO_LIFE_S } from '#kernel/limits.ts';
import { type Signer, signToken } from '#kernel/sign.ts';
import type { ProtocolRange } from './session.ts';

export interface HelloFacts {
  /** From the challenge: who it must be good for, and the acceptor's nonce. */
  readonly challenge: { readonly acceptor: string; readonly nonce: string };
  /** Endpoint id, or block id for a pilot. */
  readonly subject: string;
  readonly protocol: ProtocolRange;
  /** The last session epoch that this side knows of; 0 for none. Shows a cloned state folder. */
  readonly sessionEpoch: number;
  readonly nowMs: number;
  readonly random: Random;
}

export function signHello(facts: HelloFacts, signer: Signer): string {
  const iat = Math.floor(facts.nowMs / 1000);
  const claims = {
    v: 1,
    iss: signer.kid,
    sub: facts.subject,
    aud: facts.challenge.acceptor,
    nonce: facts.challenge.nonce,
    ownNonce: toBase64Url(facts.random.bytes(24)),
    protocol: { min: facts.protocol.min, max: facts.protocol.max },
    sessionEpoch: facts.sessionEpoch,
    iat,
    exp: iat + HELLO_LIFE_S,
  } as const;
  return signToken('farfield-hello+jwt', claims, signer);
}
