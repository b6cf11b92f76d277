/**
 * A user's folder: long-term key, session, profile, pinned endpoints, and the tickets that were sent.
 *
 * Invariants
 *  F1 Private keys are 0600 in a 0700 folder, and refused when others can read them.
 *  F2 A ticket is noted (fsync) before it is sent: a client that dies mid-submit finds it again.
 *  F3 A pinned endpoint's descriptor never goes back to a lower `seq`.
 */
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openPrivateFolder, readSecret, writeDurable } from '#base/files.ts';
import { loadSigner } from '#base/keys.ts';
import { utf8 } from '#kernel/bytes.ts';
import { type Chain, openChain } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { parseToken, type Signer } from '#kernel/jws.ts';
import type { BrokerAddress } from './http.ts';

/** A session key with the delegation that makes it one. */
export interface Session {
  readonly signer: Signer;
  readonly chain: readonly string[];
  readonly opened: Chain;
}

export interface Pin {
  readonly name: string;
  readonly endpoint: string;
  /** Highest descriptor sequence seen. */
  readonly seq: number;
}

/** What is noted of a ticket that was sent, one JSON line each. */
export interface SentTicket {
  readonly id: string;
  readonly hash: string;
  readonly endpoint: string;
  readonly jti: string;
  readonly fn: string;
  readonly n: number;
  readonly at: number;
  /** Until when a receipt may come, seconds since 1970. */
  readonly overS?: number;
}

export interface Home {
  readonly folder: string;
  readonly file: (name: HomeFile) => string;
  profile(): Promise<BrokerAddress & { readonly grpc: string }>;
  session(nowS: number): Promise<Session>;
  /** The name of the last login, over or not: sites have pinned the key under it. */
  lastName(): Promise<string | undefined>;
  pins(): Promise<readonly Pin[]>;
  savePins(pins: readonly Pin[]): Promise<void>;
  noteTickets(tickets: readonly SentTicket[]): Promise<void>;
  sentTickets(): Promise<readonly SentTicket[]>;
}

const FILES = {
  principal: 'keys/principal.pem',
  publisher: 'keys/publisher.pem',
  sessionKey: 'keys/session.pem',
  session: 'session.json',
  profile: 'profile.json',
  pins: 'pins.json',
  tickets: 'tickets.jsonl',
} as const;
export type HomeFile = keyof typeof FILES;

export function openHome(folder: string): Home {
  const file = (name: HomeFile): string => join(folder, FILES[name]);
  return {
    folder,
    file,
    async profile() {
      return (await readJson(
        file('profile'),
        'no broker is configured here. Run `farfield login TOKEN` with the token of `farfield broker invite --user`',
      )) as BrokerAddress & { grpc: string };
    },
    async lastName() {
      try {
        const { chain } = (await readJson(file('session'), '')) as { chain: string[] };
        return parseToken('farfield-delegation+jwt', chain[0] ?? '').claims.sub.id;
      } catch {
        return undefined;
      }
    },
    async session(nowS) {
      const hint = 'Run `farfield login`';
      const { chain } = (await readJson(file('session'), `nobody is logged in. ${hint}`)) as { chain: string[] };
      const opened = openChain(chain);
      if (opened.delegation.claims.exp <= nowS)
        throw new FarfieldError('E_CHAIN_EXPIRED', `the session is over. ${hint}`);
      return { signer: loadSigner(file('sessionKey')), chain, opened };
    },
    async pins() {
      return (await readJson(file('pins'), undefined)) as Pin[];
    },
    async savePins(pins) {
      openPrivateFolder(folder);
      await writeDurable(file('pins'), utf8(`${JSON.stringify(pins, undefined, 2)}\n`), 0o600);
    },
    async noteTickets(tickets) {
      const lines = tickets.map((ticket) => `${JSON.stringify(ticket)}\n`).join('');
      await appendFile(file('tickets'), lines, { mode: 0o600, flush: true });
    },
    async sentTickets() {
      const text = await readFile(file('tickets'), 'utf8').catch(() => '');
      return text.split('\n').flatMap(parseLine);
    },
  };
}

/** A line torn by a crash is passed over: its ticket was never sent (F2). */
function parseLine(line: string): SentTicket[] {
  try {
    return line === '' ? [] : [JSON.parse(line) as SentTicket];
  } catch {
    return [];
  }
}

async function readJson(path: string, missing: string | undefined): Promise<unknown> {
  let text: string;
  try {
    text = new TextDecoder().decode(readSecret(path));
  } catch (cause) {
    if (isMissing(cause)) {
      if (missing === undefined) return [];
      throw new FarfieldError('E_UNAUTHENTICATED', missing, { cause });
    }
    throw cause;
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FarfieldError('E_USAGE', `${path} is not JSON; remove it and log in again`, { cause });
  }
}

function isMissing(cause: unknown): boolean {
  const inner = cause instanceof FarfieldError ? cause.cause : cause;
  return (inner as { code?: string } | undefined)?.code === 'ENOENT';
}
