/**
 * Ends items: gathers what finished, signs one pack for each principal, commits it, then says so.
 *
 * Invariants
 *  E1 Whatever finished while the previous commit ran is the next group; when idle a lone outcome is committed at once.
 *  E2 Pilots are acknowledged, and the pack leaves for the broker, only after the commit that holds it.
 *  E3 What the ledger finds stale is dropped and counted: another outcome of the item was first.
 */
import type { Clock } from '#base/clock.ts';
import { utf8 } from '#kernel/bytes.ts';
import type { Signer } from '#kernel/jws.ts';
import { type Detail, type Pack, STATUS_CODES, sealPack } from '#kernel/receipts.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import { farfield } from '#protos/generated/link.js';
import { ITEM } from '../admission/item-state.ts';
import type { EndedItems, Ledger } from '../admission/ledger.ts';
import { isOpen, type Work } from './mirror.ts';

/** One item's end, as it is signed. */
export interface SealedItem {
  readonly work: Pick<Work, 'no' | 'ticket' | 'starts' | 'leaseEpochs'>;
  readonly i: number;
  readonly status: keyof typeof STATUS_CODES;
  readonly detail: Detail;
  readonly meas: Measured;
  /** 32 bytes; undefined without a result. */
  readonly resultDigest?: Uint8Array;
  /** Inline result. */
  readonly result?: Uint8Array;
}

/** The end of an item that the ledger holds open. */
export interface Ending extends SealedItem {
  readonly work: Work;
}

export interface EndingsOptions extends SealOptions {
  readonly ledger: Ledger;
  /** A pack is on disk: it may leave. */
  readonly onPack: (no: number, pack: Pack, bytes: number, blobs: readonly string[]) => void;
  readonly onEnded: (endings: readonly Ending[]) => void;
  readonly onStale: (why: string) => void;
  readonly onError: (error: unknown) => void;
}

export interface Endings {
  end(ending: Ending): void;
  /** Resolves when what was given so far is committed; not what comes later, or a busy agent would never answer. */
  committed(): Promise<void>;
}

/** Items in one pack: its columns must fit into a frame together with 64 KiB results. */
const MAX_PACK_ITEMS = 4096;
const MAX_PACK_BYTES = 768 * 1024;
/** Digest, status and indices of one item in a pack, and some room for its ticket's. */
const ITEM_COLUMNS_BYTES = 64;
/** Distinct measurements a receipt may list. */
const MAX_MEAS = 64;

interface Group {
  readonly endings: Ending[];
  readonly done: PromiseWithResolvers<void>;
}

export function createEndings(options: EndingsOptions): Endings {
  let next: Group | undefined;
  let running: Group | undefined;
  let planned = false;

  const flush = async (): Promise<void> => {
    planned = false;
    while (next !== undefined) {
      running = next;
      next = undefined;
      try {
        await Promise.all(splitGroup(running.endings).map((part) => commit(options, part)));
      } catch (error) {
        // The store is broken or full: what waits is still with its pilots, which are not acknowledged.
        for (const { work, i } of running.endings) work.ending[i] = 0;
        running.done.reject(error);
        options.onError(error);
      }
      running.done.resolve();
    }
    running = undefined;
  };

  return {
    end(ending) {
      const { work, i } = ending;
      if (!isOpen(work, i)) {
        options.onStale(`item ${i} of ${work.ticket.id} has ended already`);
        return;
      }
      work.ending[i] = 1;
      if (next === undefined) {
        next = { endings: [], done: Promise.withResolvers() };
        next.done.promise.catch(() => undefined);
        // A microtask: the rest of the message that is being handled joins the same group.
        if (running === undefined && !planned) {
          planned = true;
          queueMicrotask(() => void flush());
        }
      }
      next.endings.push(ending);
    },
    committed: () => (next ?? running)?.done.promise ?? Promise.resolve(),
  };
}

/** By principal, and cut where a pack would outgrow a frame or the list of measurements. */
function splitGroup(group: readonly Ending[]): Ending[][] {
  const parts: Ending[][] = [];
  const open = new Map<string, { part: Ending[]; bytes: number; meas: Set<Measured>; details: Set<Detail> }>();
  for (const ending of group) {
    const { principal } = ending.work.ticket;
    let into = open.get(principal);
    const detailBytes = into?.details.has(ending.detail) === true ? 0 : detailText(ending.detail).length;
    const bytes = (ending.result?.byteLength ?? 0) + ITEM_COLUMNS_BYTES + detailBytes;
    const full =
      into !== undefined &&
      (into.part.length >= MAX_PACK_ITEMS ||
        into.bytes + bytes > MAX_PACK_BYTES ||
        (into.meas.size >= MAX_MEAS && !into.meas.has(ending.meas)));
    if (into === undefined || full) {
      into = { part: [], bytes: 0, meas: new Set(), details: new Set() };
      open.set(principal, into);
      parts.push(into.part);
    }
    into.part.push(ending);
    into.bytes += bytes;
    into.meas.add(ending.meas);
    into.details.add(ending.detail);
  }
  return parts;
}

/** Written once: it is measured before it is packed. Items of one launch share their detail. */
const detailTexts = new WeakMap<Detail, string>();

function detailText(detail: Detail): string {
  const known = detailTexts.get(detail);
  if (known !== undefined) return known;
  const text = JSON.stringify(detail);
  detailTexts.set(detail, text);
  return text;
}

export interface SealOptions {
  readonly endpoint: string;
  readonly signer: () => Signer;
  readonly clock: Clock;
}

export interface Sealed {
  readonly pack: Pack;
  /** The same as protobuf. */
  readonly bytes: Uint8Array;
  readonly ended: readonly EndedItems[];
}

/** One signed pack of what ended for one principal. */
export function sealEndings(options: SealOptions, group: readonly SealedItem[]): Sealed {
  const principal = group[0]?.work.ticket.principal ?? '';
  const { pack, ended } = buildPack(options, principal, group);
  return { pack, bytes: farfield.Pack.encode(pack).finish(), ended };
}

async function commit(options: EndingsOptions, group: readonly Ending[]): Promise<void> {
  const principal = group[0]?.work.ticket.principal ?? '';
  const { pack, bytes, ended } = sealEndings(options, group);
  const blobs = blobsOf(group);
  const result = await options.ledger.submit({ kind: 'end', principal, pack: bytes, blobs, tickets: ended });
  if (result.kind !== 'ended') {
    // One item of the pack ended another way. A pack is taken or refused as a whole, so each of the others goes alone.
    if (group.length > 1) {
      for (const ending of group) await commit(options, [ending]);
      return;
    }
    for (const { work, i } of group) work.ending[i] = 0;
    options.onStale(result.kind === 'stale' ? result.why : result.kind);
    return;
  }
  for (const { work, i, status } of group) {
    work.states[i] = ITEM.ended + STATUS_CODES[status];
    work.ending[i] = 0;
    work.open -= 1;
    work.payloads.delete(i);
    work.lastFailure.delete(i);
  }
  options.onEnded(group);
  options.onPack(result.packNo, pack, bytes.byteLength, blobs);
}

/** Hex digests of the results that the broker keeps as blobs. */
function blobsOf(group: readonly Ending[]): string[] {
  const digests = new Set<string>();
  for (const { detail, resultDigest } of group) {
    if (detail.res?.at === 'blob' && resultDigest !== undefined) digests.add(Buffer.from(resultDigest).toString('hex'));
  }
  return [...digests];
}

const NO_RESULT = new Uint8Array(32);

function buildPack(
  options: SealOptions,
  principal: string,
  group: readonly SealedItem[],
): { pack: Pack; ended: EndedItems[] } {
  const details = new Table<Detail>(detailText);
  const meas = new Table<Measured>((record) => JSON.stringify(record));
  const byWork = new Map<SealedItem['work'], SealedItem[]>();
  for (const ending of group) {
    const list = byWork.get(ending.work);
    if (list === undefined) byWork.set(ending.work, [ending]);
    else list.push(ending);
  }
  const tickets = [];
  const ended: EndedItems[] = [];
  for (const [work, endings] of byWork) {
    const items = endings.map(({ i }) => i);
    const attempts = items.map((i) => work.starts[i] ?? 0);
    const statuses = endings.map(({ status }) => STATUS_CODES[status]);
    tickets.push({
      id: work.ticket.id,
      jti: work.ticket.jti,
      ticketHash: work.ticket.hash,
      items,
      attempts,
      statuses: Uint8Array.from(statuses),
      detail: endings.map(({ detail }) => details.index(detail)),
      meas: endings.map((ending) => meas.index(ending.meas)),
      resultDigests: Buffer.concat(endings.map(({ resultDigest }) => resultDigest ?? NO_RESULT)),
      resultSizes: endings.map(({ result }) => result?.byteLength ?? 0),
      results: Buffer.concat(endings.flatMap(({ result }) => (result === undefined ? [] : [result]))),
    });
    ended.push({
      ticketNo: work.no,
      items,
      attempts,
      leaseEpochs: items.map((i) => work.leaseEpochs[i] ?? 0),
      statuses,
    });
  }
  const iat = Math.floor(options.clock.now() / 1000);
  const unsigned = { principal, tickets, details: details.values.map((detail) => utf8(detailText(detail))) };
  return { pack: sealPack(unsigned, [...meas.values], options.endpoint, iat, options.signer()), ended };
}

/** Distinct values, by identity first (items of one launch share their records) and then by content. */
class Table<T extends object> {
  readonly values: T[] = [];
  readonly #byIdentity = new Map<T, number>();
  readonly #byText = new Map<string, number>();
  readonly #text: (value: T) => string;

  constructor(text: (value: T) => string) {
    this.#text = text;
  }

  index(value: T): number {
    const same = this.#byIdentity.get(value);
    if (same !== undefined) return same;
    const text = this.#text(value);
    const index = this.#byText.get(text) ?? this.values.push(value) - 1;
    this.#byText.set(text, index);
    this.#byIdentity.set(value, index);
    return index;
  }
}
