/**
 * What the broker checks of a ticket before it stores it. The agent checks everything again, by authorities that the broker
 * lacks; here it is about early, clear errors, and about not carrying what would be refused.
 *
 * Invariants
 *  Q1 Form, signature, chain, item hashes, inline digests and the manifest's digest hold for everything that is stored.
 *  Q2 What depends on the moment (times, an endpoint that is offline) is decided in the commit, after the look whether the
 *     ticket is known: the same ticket sent again always answers with its stored state.
 */
import type { Bytes } from '#kernel/bytes.ts';
import { bindingRefusal, type Chain, chainTimeRefusal, type createChainCache, scopeRefusal } from '#kernel/chain.ts';
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import { digestOf, ticketId } from '#kernel/ids.ts';
import { itemsRoot, leafList } from '#kernel/items.ts';
import { parseToken, type Token, verifyToken } from '#kernel/jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, DEFAULT_MAX_TICKET_LIFE_S, MAX_INLINE_BYTES } from '#kernel/limits.ts';
import type { Arg, ManifestClaims } from '#kernel/tokens/claims.ts';
import { createItemReader } from '#kernel/tokens/item-reader.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { MAX_INLINE_BYTES_PER_ITEM } from '../limits.ts';
import { packU16, packU32 } from '../store/columns.ts';
import type { Payload, QueueTicket } from '../store/store.ts';
import type { SubmittedTicket } from './parse.ts';

type Ticket = Token<'farfield-ticket+jwt'> | Token<'farfield-batch+jwt'>;
export interface Objection {
  readonly code: ErrorCode;
  readonly message: string;
}

export interface CheckedTicket {
  readonly queue: QueueTicket;
  readonly chain: Chain;
  readonly links: readonly string[];
  readonly manifestText: string;
}

export interface CheckOptions {
  readonly chains: ReturnType<typeof createChainCache>;
  readonly manifests: ManifestCache;
  readonly nowS: number;
  /** Why an endpoint takes nothing now; undefined: it does. */
  readonly unreachable: (endpoint: string, chain: Chain) => Objection | undefined;
}

export interface ManifestCache {
  open(text: string): OpenedManifest;
}

interface OpenedManifest {
  /** Of the payload, as `fn.manifest` names it. */
  readonly digest: string;
  /** Of the whole text: signatures may be added to a payload, and each text is kept for those who sent it. */
  readonly textDigest: string;
  readonly claims: ManifestClaims;
}

/** By the whole text: a manifest with another signature is another text. */
export function createManifestCache(max = 256): ManifestCache {
  const known = new Map<string, OpenedManifest>();
  return {
    open(text) {
      const hit = known.get(text);
      if (hit !== undefined) return hit;
      const { digest, claims } = openManifest(text, []);
      const opened = { digest, textDigest: digestOf(text), claims };
      known.set(text, opened);
      for (const oldest of known.keys()) {
        if (known.size <= max) break;
        known.delete(oldest);
      }
      return opened;
    },
  };
}

export function checkTicket(submitted: SubmittedTicket, options: CheckOptions): CheckedTicket {
  const token: Ticket = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], submitted.ticket) as Ticket;
  const chain = options.chains.open(submitted.chain);
  verifyToken(token, chain.sessionKey);
  const unbound = bindingRefusal(chain, token) ?? scopeRefusal(chain, token);
  if (unbound !== undefined) throw new FarfieldError(unbound.code, unbound.message);
  const manifest = checkManifest(token, submitted.manifest, options.manifests);
  const { payload, blobs } = isBatch(token) ? checkBatch(token, submitted) : checkSingle(token, submitted);
  const { claims } = token;
  const queue: QueueTicket = {
    id: ticketId(chain.principal, claims.jti),
    principal: chain.principal,
    endpoint: claims.aud,
    jti: claims.jti,
    hash: token.hash,
    fn: `${claims.fn.name}@${claims.fn.version}`,
    token: submitted.ticket,
    // By its text too: another's bent signature over the same claims must not stand in for this one.
    chain: digestOf(submitted.chain.join('\n')),
    manifest,
    n: payload.inlineCounts.byteLength,
    exp: claims.exp,
    payload,
    blobs: [...blobs].map(([digest, size]) => ({ digest, size })),
    unless: momentary(token, chain, options),
  };
  return { queue, chain, links: submitted.chain, manifestText: submitted.manifest };
}

const isBatch = (token: Ticket): token is Token<'farfield-batch+jwt'> => token.typ === 'farfield-batch+jwt';

/** Q2: what may be otherwise when the same ticket comes again. */
function momentary(token: Ticket, chain: Chain, options: CheckOptions): Objection | undefined {
  const { nowS } = options;
  const { iat, exp, aud } = token.claims;
  if (exp < nowS)
    return { code: 'E_EXPIRED', message: 'this ticket might start no longer (its exp is past); sign a new one' };
  if (iat > nowS + DEFAULT_CLOCK_TOLERANCE_S)
    return { code: 'E_NOT_YET', message: 'this ticket begins in the future; check both clocks' };
  if (exp - iat > DEFAULT_MAX_TICKET_LIFE_S) {
    return {
      code: 'E_LIFE',
      message: `a ticket lives at most ${DEFAULT_MAX_TICKET_LIFE_S / 86400} days at this broker; give it an earlier exp`,
    };
  }
  return chainTimeRefusal(chain, token, nowS, DEFAULT_CLOCK_TOLERANCE_S) ?? options.unreachable(aud, chain);
}

function checkManifest(token: Ticket, text: string, cache: ManifestCache): string {
  const { digest, textDigest, claims } = cache.open(text);
  const { fn } = token.claims;
  if (digest !== fn.manifest || claims.name !== fn.name || claims.version !== fn.version) {
    throw new FarfieldError(
      'E_MANIFEST',
      `the manifest that came is ${claims.name}@${claims.version} (${digest}); the ticket names ${fn.name}@${fn.version} (${fn.manifest})`,
    );
  }
  return textDigest;
}

interface Carried {
  readonly payload: Payload;
  /** Digest to size. */
  readonly blobs: Map<string, number>;
}

function checkSingle(token: Token<'farfield-ticket+jwt'>, submitted: SubmittedTicket): Carried {
  if (submitted.itemSizes.length > 0)
    throw new FarfieldError('E_ITEMS', 'a single ticket carries no items; its arguments are in its claims');
  const walk = createWalk(submitted);
  walk.item(token.claims.args);
  return walk.done(new Uint8Array(0), submitted);
}

function checkBatch(token: Token<'farfield-batch+jwt'>, submitted: SubmittedTicket): Carried {
  const { itm } = token.claims;
  const { itemSizes, itemBytes } = submitted;
  if (itemSizes.length !== itm.n)
    throw new FarfieldError(
      'E_ITEMS',
      `the ticket signs ${itm.n} items and ${itemSizes.length} came; send all of them, in order`,
    );
  const leaves = leafList(itemSizes, itemBytes);
  if (itemsRoot(leaves) !== itm.sha256) {
    throw new FarfieldError(
      'E_ITEMS',
      'the items are not those that the ticket signs: one is altered, missing or in another place',
    );
  }
  const walk = createWalk(submitted);
  const reader = createItemReader();
  let at = 0;
  for (let i = 0; i < itemSizes.length; i += 1) {
    const end = at + (itemSizes[i] ?? 0);
    walk.item(reader.open(i, itemBytes.subarray(at, end)).args);
    at = end;
  }
  return walk.done(leaves, submitted);
}

/** Goes along the inline bytes with the arguments that name them. */
function createWalk(submitted: SubmittedTicket): {
  item(args: readonly Arg[]): void;
  done(leaves: Bytes, s: SubmittedTicket): Carried;
} {
  const { inlineSizes, inline } = submitted;
  const blobs = new Map<string, number>();
  const counts: number[] = [];
  let k = 0;
  let at = 0;
  return {
    item(args) {
      let count = 0;
      const from = at;
      for (const arg of args) {
        if (arg.at === 'blob') blobs.set(arg.digest, arg.size);
        if (arg.at !== 'inline') continue;
        const size = inlineSizes[k];
        if (size === undefined)
          throw new FarfieldError('E_DIGEST', `the bytes of inline argument ${arg.name} did not come`);
        checkInline(arg, size, inline.subarray(at, at + size));
        at += size;
        k += 1;
        count += 1;
      }
      if (at - from > MAX_INLINE_BYTES_PER_ITEM) {
        throw new FarfieldError(
          'E_TOO_LARGE',
          `one item carries ${at - from} inline bytes; at most ${MAX_INLINE_BYTES_PER_ITEM}. Upload large arguments as blobs`,
        );
      }
      counts.push(count);
    },
    done(leaves, { itemSizes, itemBytes }) {
      if (k !== inlineSizes.length)
        throw new FarfieldError('E_DIGEST', `${inlineSizes.length - k} inline arguments came that no item names`);
      const payload = {
        leaves,
        itemSizes: leaves.byteLength === 0 ? packU16([0]) : packU16(itemSizes),
        itemBytes,
        inlineCounts: Uint8Array.from(counts),
        inlineSizes: packU32(inlineSizes),
        inline,
      };
      return { payload, blobs };
    },
  };
}

function checkInline(arg: Extract<Arg, { at: 'inline' }>, size: number, bytes: Bytes): void {
  if (size > MAX_INLINE_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `inline argument ${arg.name} has ${size} bytes; at most ${MAX_INLINE_BYTES}. Upload it as a blob`,
    );
  }
  if (arg.size !== size || digestOf(bytes) !== arg.digest) {
    throw new FarfieldError('E_DIGEST', `the bytes of inline argument ${arg.name} are not those of ${arg.digest}`);
  }
}
