/**
 * Tickets and the bytes that travel with them.
 *
 * Invariants
 *  S1 What is signed is what is sent: item bytes are made once and hashed as they are.
 *  S2 An argument of more than MAX_INLINE_BYTES never travels inline; the caller uploads it first.
 */
import { type Bytes, concat, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { digestOf, ticketId } from '#kernel/ids.ts';
import { itemsRoot, leafHash } from '#kernel/items.ts';
import { parseToken, type Signer, signToken } from '#kernel/jws.ts';
import { MAX_INLINE_BYTES, MAX_ITEM_BYTES, MAX_ITEMS } from '#kernel/limits.ts';
import type { Arg, ArgType, ItemBody, Output, Resources, RunSettings, Subject } from '#kernel/tokens/claims.ts';
import type { SubmissionHeader } from '#protos/http.ts';
import { RECEIPT_GRACE_S } from './unresolved.ts';

/** An argument as a caller gives it: bytes in memory, a blob that the broker has, or data at the endpoint. */
export type ArgInput =
  | { readonly name: string; readonly type: ArgType; readonly bytes: Bytes; readonly sel?: string }
  | {
      readonly name: string;
      readonly type: ArgType;
      readonly blob: { digest: string; size: number };
      readonly sel?: string;
    }
  | {
      readonly name: string;
      readonly type: ArgType;
      readonly path: string;
      readonly sel?: string;
      readonly digest?: string;
    };

export interface ItemInput {
  readonly args: readonly ArgInput[];
  readonly seed?: number;
}

/** What every ticket of a call has in common. */
export interface TicketTerms {
  readonly endpoint: string;
  readonly subject: Subject;
  readonly delegation: string;
  readonly fn: { readonly name: string; readonly version: string; readonly manifest: string };
  readonly models: readonly { name: string; digest: string }[];
  readonly variants?: readonly string[];
  readonly runtimes?: readonly string[];
  readonly resources: Resources;
  readonly run: RunSettings;
  readonly output: Output;
}

/** A signed ticket with its bytes, ready to be sent any number of times. */
export interface SignedTicket {
  readonly id: string;
  readonly hash: string;
  readonly jti: string;
  readonly endpoint: string;
  readonly n: number;
  /** `name@version`, for people. */
  readonly fn: string;
  readonly text: string;
  readonly items: readonly Bytes[];
  readonly inline: readonly Bytes[];
  readonly byteLength: number;
  /** Seconds since 1970 after which no receipt can be expected any more. */
  readonly overS: number;
}

interface Times {
  readonly jti: string;
  readonly iat: number;
  readonly exp: number;
}

function claimArg(input: ArgInput, inline: Bytes[]): Arg {
  const sel = input.sel === undefined ? {} : { sel: input.sel };
  if ('bytes' in input) {
    if (input.bytes.byteLength > MAX_INLINE_BYTES) {
      throw new FarfieldError(
        'E_TOO_LARGE',
        `argument ${input.name} has ${input.bytes.byteLength} bytes; inline is up to ${MAX_INLINE_BYTES}. Upload it as a blob, or name a path at the endpoint`,
      );
    }
    inline.push(input.bytes);
    return {
      name: input.name,
      type: input.type,
      at: 'inline',
      digest: digestOf(input.bytes),
      size: input.bytes.byteLength,
      ...sel,
    };
  }
  if ('blob' in input) {
    return { name: input.name, type: input.type, at: 'blob', digest: input.blob.digest, size: input.blob.size, ...sel };
  }
  const digest = input.digest === undefined ? {} : { digest: input.digest };
  return { name: input.name, type: input.type, at: 'endpoint', path: input.path, ...sel, ...digest };
}

/** Signs a single ticket (one item) or a batch ticket (two or more, or `batch: true`). */
export function signTicket(
  terms: TicketTerms,
  items: readonly ItemInput[],
  times: Times,
  signer: Signer,
  principal: string,
  batch = items.length > 1,
): SignedTicket {
  if (items.length === 0 || items.length > MAX_ITEMS) {
    throw new FarfieldError('E_BAD_REQUEST', `a ticket holds 1 to ${MAX_ITEMS} items, not ${items.length}. Split it`);
  }
  const inline: Bytes[] = [];
  const common = {
    v: 1 as const,
    iss: signer.kid,
    sub: terms.subject,
    dlg: terms.delegation,
    aud: terms.endpoint,
    ...times,
    fn: terms.fn,
    mdl: [...terms.models],
    ...(terms.variants === undefined ? {} : { var: [...terms.variants] }),
    ...(terms.runtimes === undefined ? {} : { rt: [...terms.runtimes] }),
    res: terms.resources,
    run: terms.run,
    out: terms.output,
  };
  let itemBytes: Bytes[] = [];
  let text: string;
  if (batch) {
    itemBytes = items.map((item) => itemText(item, inline));
    const leaves = concat(itemBytes.map((bytes, i) => leafHash(i, bytes)));
    const itm = { kind: 'list1' as const, n: items.length, sha256: itemsRoot(leaves) };
    text = signToken('farfield-batch+jwt', { ...common, itm }, signer);
  } else {
    const only = items[0] as ItemInput;
    const run = only.seed === undefined ? terms.run : { ...terms.run, seed: only.seed };
    text = signToken(
      'farfield-ticket+jwt',
      { ...common, run, args: only.args.map((arg) => claimArg(arg, inline)) },
      signer,
    );
  }
  const token = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], text);
  const byteLength = [...itemBytes, ...inline].reduce((sum, bytes) => sum + bytes.byteLength, text.length);
  return {
    id: ticketId(principal, times.jti),
    hash: token.hash,
    jti: times.jti,
    endpoint: terms.endpoint,
    n: items.length,
    fn: `${terms.fn.name}@${terms.fn.version}`,
    text,
    items: itemBytes,
    inline,
    byteLength,
    overS: times.exp + terms.run.timeoutS + RECEIPT_GRACE_S,
  };
}

function itemText(item: ItemInput, inline: Bytes[]): Bytes {
  const body: ItemBody = {
    args: item.args.map((arg) => claimArg(arg, inline)),
    ...(item.seed === undefined ? {} : { seed: item.seed }),
  };
  const bytes = utf8(JSON.stringify(body));
  if (bytes.byteLength > MAX_ITEM_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `an item's description has ${bytes.byteLength} bytes; at most ${MAX_ITEM_BYTES}`,
    );
  }
  return bytes;
}

/** One submission: u32le header length, header, then each ticket's items and inline bytes. */
export function encodeSubmission(
  tickets: readonly { signed: SignedTicket; chain: readonly string[]; manifest: string }[],
): Bytes {
  const chains: string[][] = [];
  const manifests: string[] = [];
  const indexOf = <T>(list: T[], value: T, same: (a: T, b: T) => boolean): number => {
    const found = list.findIndex((known) => same(known, value));
    return found >= 0 ? found : list.push(value) - 1;
  };
  const header: SubmissionHeader = { chains, manifests, tickets: [] };
  const parts: Bytes[] = [];
  for (const { signed, chain, manifest } of tickets) {
    header.tickets.push({
      ticket: signed.text,
      chain: indexOf(chains, [...chain], (a, b) => a[0] === b[0] && a.length === b.length),
      manifest: indexOf(manifests, manifest, (a, b) => a === b),
      itemSizes: signed.items.map((bytes) => bytes.byteLength),
      inlineSizes: signed.inline.map((bytes) => bytes.byteLength),
    });
    parts.push(...signed.items, ...signed.inline);
  }
  const head = utf8(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.byteLength);
  return concat([length, head, ...parts]);
}
