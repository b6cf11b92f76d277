/**
 * Packs: whatever one group commit finished for one principal, as columns, under one signed Merkle root.
 *
 * One form for all results; a single invocation is a tree of one leaf. `farfield-receipt+jwt` is only the stateless
 * refusal of a ticket whose chain does not hold.
 *
 * Invariants
 *  R1 `openPack` returns only what the endpoint's online key signed: every column of every item is in its leaf, details
 *     and results by digest, `meas` in the token.
 *  R2 A pack holds one item at most once, and its ids are those of (principal, jti).
 *  R3 An item is made when it is asked for: a broker that stores a pack and reads three columns makes none.
 */
import { type Bytes, sha256, sha256Into } from './bytes.ts';
import { FarfieldError } from './errors.ts';
import { JTI, type PublicJwk, ticketId } from './ids.ts';
import { parseStrict } from './json.ts';
import { openToken, type Token } from './jws.ts';
import { leavesInto, STATUS_CODES, statusName, view } from './leaves.ts';
import { MAX_ITEMS } from './limits.ts';
import { merkleProof, merkleRootOf } from './merkle.ts';
import { assertShape } from './schema.ts';
import { type Signer, signToken } from './sign.ts';
import type { Measured, ReceiptStatus } from './tokens/claims.ts';
import { type Detail, DetailShape, PackJson } from './tokens/pack.ts';

export { type Leaf, receiptLeaf, STATUS_CODES, statusName } from './leaves.ts';
export { merkleProof, merkleRoot, merkleRootOf, verifyProof } from './merkle.ts';
export { type Detail, DetailShape, PackJson } from './tokens/pack.ts';

/** The results of one ticket in a pack: columns of equal length, and byte columns back to back. */
export interface PackTicket {
  id: string;
  jti: string;
  ticketHash: string;
  items: number[];
  attempts: number[];
  /** A byte an item (STATUS_CODES). */
  statuses: Bytes;
  /** Index into `details`. */
  detail: number[];
  /** Index into the receipt's `meas`. */
  meas: number[];
  /** 32 bytes an item; zeros where there is no result. */
  resultDigests: Bytes;
  /** Bytes of `results` an item; 0 where the result is not inline. */
  resultSizes: number[];
  results: Bytes;
}

export interface Pack {
  receipts: string;
  principal: string;
  tickets: PackTicket[];
  /** Exact JSON bytes (DetailShape). */
  details: Bytes[];
}

/** One verified result. */
export interface OpenedItem {
  readonly ticketId: string;
  readonly jti: string;
  readonly ticketHash: string;
  readonly i: number;
  readonly attempt: number;
  readonly status: ReceiptStatus;
  readonly detail: Detail;
  /** Undefined where there is no result. */
  readonly resultDigest: string | undefined;
  /** The bytes, where they are inline. */
  readonly result: Bytes | undefined;
  readonly meas: Measured;
}

/** A verified pack. `pack.tickets` may be read as columns; `item(k)` and the iterator make objects as they are asked for. */
export interface OpenedPack extends Iterable<OpenedItem> {
  readonly pack: Pack;
  readonly token: Token<'farfield-receipts+jwt'>;
  /** Items of all tickets. */
  readonly count: number;
  /** The k-th item, tickets in order. */
  item(k: number): OpenedItem;
  /** The siblings of the k-th leaf: with the token, a receipt of that item alone. */
  proof(k: number): Bytes[];
}

export interface PackExpectation {
  readonly endpoint: string;
  readonly onlineKey: PublicJwk;
  readonly principal: string;
}

/** Signs what one commit finished. `meas` holds each record once; the columns name them by index. */
export function sealPack(
  unsigned: Omit<Pack, 'receipts'>,
  meas: Measured[],
  endpoint: string,
  iat: number,
  signer: Signer,
): Pack {
  const leaves = packLeaves(unsigned, meas.length);
  const receipts = signToken(
    'farfield-receipts+jwt',
    {
      v: 1,
      iss: signer.kid,
      endpoint,
      aud: unsigned.principal,
      n: leaves.byteLength / 32,
      root: `sha256:${view(merkleRootOf(leaves)).toString('hex')}`,
      iat,
      meas,
    },
    signer,
  );
  return { receipts, principal: unsigned.principal, tickets: unsigned.tickets, details: unsigned.details };
}

/** Verifies a whole pack: signature, endpoint, principal, columns, root, and that inline results hash to their digests. */
export function openPack(pack: Pack, expect: PackExpectation): OpenedPack {
  const token = openReceipts(pack, expect);
  const { claims } = token;
  const leaves = packLeaves(pack, claims.meas.length);
  if (leaves.byteLength !== claims.n * 32)
    throw bad(`it signs ${claims.n} results and comes with ${leaves.byteLength / 32}`);
  if (claims.root !== `sha256:${view(merkleRootOf(leaves)).toString('hex')}`)
    throw bad('its root is not that of these results');
  checkResults(pack);
  return opened(pack, token, leaves);
}

/**
 * Signature and columns alone, for whoever carries packs and decides nothing by them: root and results are hashed by those
 * who believe a result. At a broker those hashes were a fifth of all work.
 */
export function checkPackForm(pack: Pack, expect: PackExpectation): Token<'farfield-receipts+jwt'> {
  const token = openReceipts(pack, expect);
  const { n, meas } = token.claims;
  let found = 0;
  for (const ticket of pack.tickets) {
    checkColumns(pack, ticket, meas.length);
    found += ticket.items.length;
  }
  if (found !== n) throw bad(`it signs ${n} results and comes with ${found}`);
  if (new Set(pack.tickets.map((ticket) => ticket.id)).size !== pack.tickets.length)
    throw bad('it lists one ticket twice');
  return token;
}

function openReceipts(pack: Pack, expect: PackExpectation): Token<'farfield-receipts+jwt'> {
  const token = openToken('farfield-receipts+jwt', pack.receipts, expect.onlineKey);
  const { claims } = token;
  if (claims.endpoint !== expect.endpoint) throw bad('it is by another endpoint');
  if (claims.aud !== expect.principal || pack.principal !== expect.principal) throw bad('it is for another principal');
  return token;
}

function bad(why: string): FarfieldError {
  return new FarfieldError('E_RECEIPT', `this receipt does not hold: ${why}`);
}

/** The leaf hashes of all items, in order; throws E_RECEIPT where the columns do not fit together (R2). */
function packLeaves(pack: Omit<Pack, 'receipts'>, measCount: number): Buffer {
  const details = Buffer.alloc(pack.details.length * 32);
  for (const [k, detail] of pack.details.entries()) sha256Into(detail, details, k * 32);
  let n = 0;
  for (const ticket of pack.tickets) n += ticket.items.length;
  if (n === 0) throw bad('it holds no result');
  const leaves = Buffer.alloc(n * 32);
  const ids = new Set<string>();
  let at = 0;
  for (const ticket of pack.tickets) {
    checkColumns(pack, ticket, measCount);
    ids.add(ticket.id);
    leavesInto(pack.principal, ticket, details, leaves, at);
    at += ticket.items.length * 32;
  }
  if (ids.size !== pack.tickets.length) throw bad('it lists one ticket twice');
  return leaves;
}

/** One bit an item, cleared after each ticket: a Set of 4,096 numbers would cost more than the hashes. */
const seen = new Uint8Array(MAX_ITEMS);

/** The columns of one ticket have one length, and every index leads somewhere, before anything is hashed. */
function checkColumns(pack: Omit<Pack, 'receipts'>, ticket: PackTicket, measCount: number): void {
  const { items, attempts, statuses, detail, meas, resultSizes } = ticket;
  const n = items.length;
  if (!JTI.test(ticket.jti) || ticket.id !== ticketId(pack.principal, ticket.jti))
    throw bad('an id is not that of its jti');
  if (
    [attempts.length, statuses.byteLength, detail.length, meas.length, resultSizes.length].some(
      (length) => length !== n,
    ) ||
    ticket.resultDigests.byteLength !== n * 32 ||
    n === 0
  ) {
    throw bad(`the columns of ${ticket.id} differ in length`);
  }
  let problem: string | undefined;
  for (let k = 0; k < n; k += 1) {
    const i = items[k] ?? -1;
    const attempt = attempts[k] ?? -1;
    const status = statuses[k] ?? 0;
    if (!(i >= 0 && i < MAX_ITEMS) || seen[i] === 1) problem = `item ${i} is impossible or there twice`;
    else if (status < 1 || status > STATUS_CODES.cancelled) problem = `${status} is no status`;
    else if (!((detail[k] ?? -1) < pack.details.length) || !((meas[k] ?? -1) < measCount))
      problem = 'an index leads nowhere';
    else if (!(attempt >= 0 && attempt <= 0xffffffff)) problem = `${attempt} is no attempt`;
    if (problem !== undefined) break;
    seen[i] = 1;
  }
  for (let k = 0; k < n; k += 1) seen[items[k] ?? 0] = 0;
  if (problem !== undefined) throw bad(problem);
}

const resultHash = Buffer.alloc(32);

/** Inline results against their digests: the leaf binds the digest, this binds the bytes. */
function checkResults(pack: Pack): void {
  for (const ticket of pack.tickets) {
    const { resultSizes } = ticket;
    const bytes = view(ticket.results);
    let at = 0;
    for (let k = 0; k < resultSizes.length; k += 1) {
      const size = resultSizes[k] ?? 0;
      if (size === 0) continue;
      if (at + size > bytes.byteLength) throw bad(`the results of ${ticket.id} are cut short`);
      sha256Into(bytes.subarray(at, at + size), resultHash, 0);
      if (resultHash.compare(ticket.resultDigests, k * 32, k * 32 + 32) !== 0)
        throw bad(`a result of ${ticket.id} has another digest`);
      at += size;
    }
    if (at !== bytes.byteLength) throw bad(`the results of ${ticket.id} are longer than their sizes say`);
  }
}

const NO_RESULT = Buffer.alloc(32);
/** Digest of no bytes: what an inline result of size 0 must have. */
const EMPTY = Buffer.from(sha256(''));

/**
 * A verified pack as an object. Details are parsed when an item is first asked for: a broker that stores packs never does,
 * and thousands of items share a few of them.
 */
function opened(pack: Pack, token: Token<'farfield-receipts+jwt'>, leaves: Buffer): OpenedPack {
  const details: (Detail | undefined)[] = [];
  const detailOf = (index: number): Detail => {
    const known = details[index];
    if (known !== undefined) return known;
    const value = parseStrict(pack.details[index] ?? NO_RESULT, 'E_RECEIPT');
    const detail = assertShape(DetailShape, value, 'E_RECEIPT', 'a detail of this receipt');
    details[index] = detail;
    return detail;
  };
  const itemOf = (ticket: PackTicket, k: number, from: number): OpenedItem => {
    const status = statusName(ticket.statuses[k] ?? 0);
    const meas = token.claims.meas[ticket.meas[k] ?? -1];
    if (status === undefined || meas === undefined) throw bad('an index leads nowhere');
    const detail = detailOf(ticket.detail[k] ?? -1);
    const digest = view(ticket.resultDigests).subarray(k * 32, k * 32 + 32);
    const size = ticket.resultSizes[k] ?? 0;
    const inline = size > 0 || detail.res?.at === 'inline';
    // A size of 0 also stands for "not inline", so the digest of an inline result of no bytes is looked at here.
    if (inline && size === 0 && !digest.equals(EMPTY)) throw bad(`an inline result of ${ticket.id} is missing`);
    return {
      ticketId: ticket.id,
      jti: ticket.jti,
      ticketHash: ticket.ticketHash,
      i: ticket.items[k] ?? 0,
      attempt: ticket.attempts[k] ?? 0,
      status,
      detail,
      resultDigest: digest.equals(NO_RESULT) ? undefined : `sha256:${digest.toString('hex')}`,
      result: inline ? ticket.results.subarray(from, from + size) : undefined,
      meas,
    };
  };
  return {
    pack,
    token,
    count: token.claims.n,
    item(k) {
      let first = 0;
      for (const ticket of pack.tickets) {
        const n = ticket.items.length;
        if (k < first + n) return itemOf(ticket, k - first, sum(ticket.resultSizes, k - first));
        first += n;
      }
      throw new RangeError(`no item ${k} of ${token.claims.n}`);
    },
    proof: (k) =>
      merkleProof(
        Array.from({ length: token.claims.n }, (_, j) => leaves.subarray(j * 32, j * 32 + 32)),
        k,
      ),
    *[Symbol.iterator]() {
      for (const ticket of pack.tickets) {
        let from = 0;
        for (let k = 0; k < ticket.items.length; k += 1) {
          yield itemOf(ticket, k, from);
          from += ticket.resultSizes[k] ?? 0;
        }
      }
    },
  };
}

function sum(sizes: readonly number[], n: number): number {
  let total = 0;
  for (let k = 0; k < n; k += 1) total += sizes[k] ?? 0;
  return total;
}

const base64 = (bytes: Bytes): string => view(bytes).toString('base64');

/** A pack as JSON: bytes in base64, everything else as it is. */
export function packToJson(pack: Pack): PackJson {
  return {
    receipts: pack.receipts,
    principal: pack.principal,
    tickets: pack.tickets.map((ticket) => ({
      id: ticket.id,
      jti: ticket.jti,
      ticketHash: ticket.ticketHash,
      items: ticket.items,
      attempts: ticket.attempts,
      statuses: base64(ticket.statuses),
      detail: ticket.detail,
      meas: ticket.meas,
      resultDigests: base64(ticket.resultDigests),
      resultSizes: ticket.resultSizes,
      results: base64(ticket.results),
    })),
    details: pack.details.map(base64),
  };
}

/** The pack that JSON carries. Checks the shape; `openPack` checks the rest. */
export function packFromJson(value: unknown): Pack {
  const json = assertShape(PackJson, value, 'E_RECEIPT', 'a pack');
  return {
    receipts: json.receipts,
    principal: json.principal,
    tickets: json.tickets.map((ticket) => ({
      ...ticket,
      statuses: Buffer.from(ticket.statuses, 'base64'),
      resultDigests: Buffer.from(ticket.resultDigests, 'base64'),
      results: Buffer.from(ticket.results, 'base64'),
    })),
    details: json.details.map((detail) => Buffer.from(detail, 'base64')),
  };
}

/** The bytes of a detail, as they are hashed and sent. */
export function detailBytes(detail: Detail): Bytes {
  return Buffer.from(JSON.stringify(detail), 'utf8');
}
