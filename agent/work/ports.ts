/** What the engine is given, and how it and its pilots speak to each other. */
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import type { Signer } from '#kernel/jws.ts';
import type { Detail, Pack } from '#kernel/receipts.ts';
import type { Refusal } from '#kernel/refusal.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import type { Gang } from '#protos/generated/link.js';
import type { HeldItem, Ledger } from '../admission/ledger.ts';
import type { Work } from './mirror.ts';
import type { Place } from './placement.ts';
import type { Specs } from './specs.ts';

/** One leased item as a pilot is told of it. */
export interface LaunchItem {
  readonly i: number;
  readonly key: number;
  readonly attempt: number;
}

/** A connected pilot, seen from here. */
export interface PilotPort extends Place {
  readonly block: string;
  readonly node: string;
  launch(work: Work, leaseEpoch: number, items: readonly LaunchItem[]): void;
  cancel(items: readonly HeldItem[], reason: string): void;
  /** Left out: an older pilot, which would take a part of a gang for the whole. */
  readonly gang?: GangPort;
}

export interface GangPort {
  launch(work: Work, leaseEpoch: number, item: LaunchItem, part: Gang): void;
  go(held: HeldItem, address: string): void;
}

/** What became of one attempt, as a pilot reports it. */
export interface AttemptEnd {
  readonly key: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
  readonly status: 'succeeded' | 'failed' | 'cancelled';
  readonly detail: Detail;
  readonly meas: Measured;
  readonly resultDigest?: Uint8Array;
  readonly result?: Uint8Array;
  /** False for failures that are not the work's fault. */
  readonly charged: boolean;
}

/** What is known of a pilot's end when its leases go back. */
export interface Loss {
  readonly why: string;
  /** Its work's own hunger ended it: that is charged. */
  readonly charged?: boolean;
  /**
   * `said`: this is the cause. `unsaid`: whoever knows it has not spoken yet, so a last start waits for that. `givenUp`: nobody
   * spoke in time.
   */
  readonly cause: 'said' | 'unsaid' | 'givenUp';
}

export interface EngineOptions {
  readonly ledger: Ledger;
  readonly endpoint: string;
  readonly signer: () => Signer;
  readonly specs: Specs;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The highest lease epoch that the ledger has given out. */
  readonly leaseEpoch: number;
  /** Of a block as the site's configuration asks for it; left out: not known. */
  readonly nodesPerBlock?: number;
  /** Policy, revocation and `exp`, asked again just before a launch. */
  readonly launchRefusal: (work: Work) => Refusal | undefined;
  /** Makes an item's files ready: blobs fetched, paths checked. Undefined when there is nothing to wait for. */
  readonly stage: (work: Work, i: number) => Promise<void> | undefined;
  /** The site drains: what waits stays where it is. */
  readonly held?: () => boolean;
  /** Something waits and no pilot has room: blocks may grow. */
  readonly onDemand: (waiting: number) => void;
  readonly onState: (work: Work, items: readonly number[], state: string, detail: string) => void;
  /** A pack is on disk: it may leave. */
  readonly onPack: (no: number, pack: Pack, bytes: number, blobs: readonly string[]) => void;
  /** A lease of it ended after this long; its pilot, where that is still known. */
  readonly onUsed: (work: Work, ms: number, pilot: PilotPort | undefined) => void;
  /** The ledger does not commit any more. */
  readonly onBroken: (error: unknown) => void;
}

/** A lease that rides in the commit of an admission. */
export interface Offer {
  readonly pilot: PilotPort;
  readonly leaseEpoch: number;
  readonly count: number;
}
