/**
 * Who this agent is while it runs: its descriptor, its online key, and the status that it signs with it.
 *
 * Invariants
 *  I1 The online key is the one that the root named in the descriptor; otherwise nothing starts.
 *  I2 A renewed descriptor is taken over without a restart (`reload`); a lower `seq` never is.
 */
import { loadSigner } from '#base/keys.ts';
import { openDescriptor } from '#kernel/endpoint.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import type { AgentFolder } from './folder.ts';
import { readDescriptorFile } from './root.ts';

export interface Identity {
  /** Thumbprint of the root key. */
  readonly endpoint: string;
  readonly name: string;
  /** The descriptor's text. */
  readonly descriptor: string;
  readonly seq: number;
  /** Until when the root lets the online key speak. */
  readonly expS: number;
  readonly signer: Signer;
}

export interface IdentitySource {
  readonly current: Identity;
  /** Reads the folder again, after a `renew`. Throws, and keeps what it has, where the new one does not hold. */
  reload(nowS: number): Identity;
}

/** Who this folder is now; throws where descriptor or key do not hold. */
export function readIdentity(folder: AgentFolder, nowS: number, minSeq = 0): Identity {
  const text = readDescriptorFile(folder);
  const { claims } = openDescriptor(text, { nowS, minSeq });
  const signer = loadSigner(folder.onlineKey);
  if (signer.jwk.x !== claims.sign.x) {
    throw new FarfieldError(
      'E_FORBIDDEN',
      `${folder.onlineKey} is not the key that the descriptor names; run \`farfield endpoint renew\` where the root key is`,
    );
  }
  return { endpoint: claims.iss, name: claims.name, descriptor: text, seq: claims.seq, expS: claims.exp, signer };
}

export function openIdentity(folder: AgentFolder, nowS: number): IdentitySource {
  let current = readIdentity(folder, nowS);
  return {
    get current() {
      return current;
    },
    reload(now) {
      const fresh = readIdentity(folder, now, current.seq);
      if (fresh.endpoint !== current.endpoint) {
        throw new FarfieldError(
          'E_CONFLICT',
          `${folder.root} became endpoint ${fresh.endpoint}; stop this agent and start it again`,
        );
      }
      current = fresh;
      return fresh;
    },
  };
}

/** The hot facts that clients and brokers choose by. */
export interface StatusFacts {
  readonly policy: string;
  readonly ledgerEpoch: { readonly n: number; readonly since: number };
  readonly runtimes: readonly string[];
  readonly state: Claims<'farfield-status+jwt'>['state'];
  readonly reason?: string;
}

/** Ticket and token versions that this build reads. */
const TOKEN_VERSIONS = [1];

export function signStatus(identity: Identity, facts: StatusFacts, nowS: number): string {
  const { policy, ledgerEpoch, runtimes, state, reason } = facts;
  return signToken(
    'farfield-status+jwt',
    {
      v: 1,
      iss: identity.signer.kid,
      endpoint: identity.endpoint,
      iat: nowS,
      policy,
      ledgerEpoch: { n: ledgerEpoch.n, since: ledgerEpoch.since },
      tokens: TOKEN_VERSIONS,
      runtimes: [...runtimes],
      state,
      ...(reason === undefined ? {} : { reason: reason.slice(0, 1024) }),
    },
    identity.signer,
  );
}
