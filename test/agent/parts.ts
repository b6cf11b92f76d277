/** The agent's core on an in-memory ledger with real keys: a desk, an engine, pilots that remember what they were told. */
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { createSeededRandom } from '#base/random.ts';
import { digestOf } from '#kernel/ids.ts';
import { itemsRoot, leafList } from '#kernel/items.ts';
import { signToken } from '#kernel/jws.ts';
import { type ResolvedPolicy, resolvePolicy } from '#kernel/policy/resolve.ts';
import { type OpenedItem, openPack, type Pack } from '#kernel/receipts.ts';
import type { Arg, Claims, ItemBody } from '#kernel/tokens/claims.ts';
import type { DeliveredTicket } from '#protos/generated/link.js';
import { AdmissionDesk } from '../../agent/admission/admit.ts';
import { createLaunchCheck } from '../../agent/admission/launch.ts';
import { type HeldItem, type Ledger, openMemoryLedger } from '../../agent/admission/ledger.ts';
import { Engine } from '../../agent/work/engine.ts';
import { restoreWork, type Work } from '../../agent/work/mirror.ts';
import type { AttemptEnd, LaunchItem, PilotPort } from '../../agent/work/ports.ts';
import { createSpecs } from '../../agent/work/specs.ts';
import { NOW, newDelegation, newParty, type Party, ticketClaims } from '../kernel/parties.ts';

export { NOW };

export interface Launched extends LaunchItem {
  readonly work: Work;
  readonly leaseEpoch: number;
}

export interface TestPilot extends PilotPort {
  readonly launched: Launched[];
  readonly cancelled: HeldItem[];
}

export function testPilot(no: number, slots = 2): TestPilot {
  const launched: Launched[] = [];
  const cancelled: HeldItem[] = [];
  return {
    no,
    slots,
    inFlight: new Map(),
    block: 'block',
    node: `node${no}`,
    launched,
    cancelled,
    launch: (work, leaseEpoch, items) => void launched.push(...items.map((item) => ({ ...item, work, leaseEpoch }))),
    cancel: (items) => void cancelled.push(...items),
  };
}

export const NOOP = {
  name: 'test/noop',
  kind: 'model' as const,
  adapter: 'noop',
  args: [{ name: 'x', types: ['json' as const] }],
  models: [],
  variants: [{ name: 'any', runtimes: ['process'] }],
};

export function testParty(): Party {
  return newParty(NOOP);
}

export function policyFor(party: Party, changes: { rules?: object[]; [key: string]: unknown } = {}): ResolvedPolicy {
  const raw = {
    endpoint: party.root.kid,
    authorities: {
      pinned: [{ kid: party.principal.kid, name: 'alice', until: NOW + 86_400 }],
      publishers: [{ name: 'lab', jwks: [party.publisher.jwk] }],
    },
    rules: [
      {
        name: 'noops for alice',
        who: { pin: 'alice' },
        functions: { publisher: 'lab', names: ['test/*'] },
        runtimes: ['process'],
        args: ['json'],
        paths: { read: ['/data/alice'] },
      },
    ],
    ...changes,
  };
  return resolvePolicy(raw, Buffer.from(JSON.stringify(raw)), { endpoint: party.root.kid });
}

export interface Harness {
  readonly party: Party;
  readonly clock: ManualClock;
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly desk: AdmissionDesk;
  readonly packs: { no: number; pack: Pack }[];
  readonly states: string[];
  readonly log: string[];
  policy: ResolvedPolicy;
  closed: string | undefined;
  /** Times that acknowledged packs were asked for again. */
  again: number;
  broken: unknown;
}

export interface HarnessOptions {
  readonly party?: Party;
  readonly ledger?: Ledger;
  readonly clock?: ManualClock;
  readonly policy?: ResolvedPolicy;
  readonly ledgerEpoch?: { n: number; since: number };
  readonly stage?: (work: Work, i: number) => Promise<void> | undefined;
  readonly nodesPerBlock?: number;
}

/** A fresh life of the agent's core; with the ledger of an earlier one it takes up what that left. */
export async function newHarness(options: HarnessOptions = {}): Promise<Harness> {
  const party = options.party ?? testParty();
  const clock = options.clock ?? createManualClock(NOW * 1000);
  const ledger = options.ledger ?? openMemoryLedger();
  const lines: string[] = [];
  const log = createLogger({ name: 'test', stream: { write: (line: string) => void lines.push(line) } });
  const specs = createSpecs({ uid: 1000, shareModelRunners: false, modelRoot: () => undefined, threadsPerSlot: 1 });
  const meta = await ledger.query({ kind: 'meta' });
  const harness = {
    party,
    clock,
    ledger,
    packs: [],
    states: [],
    log: lines,
    closed: undefined,
    again: 0,
    broken: undefined,
  } as unknown as {
    -readonly [K in keyof Harness]: Harness[K];
  };
  harness.policy = options.policy ?? policyFor(party);
  harness.engine = new Engine({
    ledger,
    endpoint: party.root.kid,
    signer: () => party.online,
    specs,
    clock,
    random: createSeededRandom('agent tests'),
    log,
    ...(options.nodesPerBlock === undefined ? {} : { nodesPerBlock: options.nodesPerBlock }),
    leaseEpoch: meta.kind === 'meta' ? meta.leaseEpoch : 0,
    launchRefusal: createLaunchCheck(() => harness.policy, clock),
    stage: options.stage ?? (() => undefined),
    onDemand: () => undefined,
    onState: (work, items, state, detail) =>
      void harness.states.push(`${work.ticket.jti} ${items.join(',')} ${state} ${detail}`),
    onPack: (no, pack) => void harness.packs.push({ no, pack }),
    onUsed: () => undefined,
    onBroken: (error) => {
      harness.broken = error;
    },
  });
  const open = await ledger.query({ kind: 'open' });
  for (const each of open.kind === 'open' ? open.tickets : []) {
    const work = restoreWork(each, harness.policy);
    harness.engine.keep(work, work.open);
  }
  harness.desk = new AdmissionDesk({
    ledger,
    engine: harness.engine,
    policy: () => harness.policy,
    endpoint: party.root.kid,
    signer: () => party.online,
    clock,
    log,
    ledgerEpoch: () => options.ledgerEpoch ?? { n: 1, since: 0 },
    newestJti: meta.kind === 'meta' ? meta.newestJti : '',
    closed: () =>
      harness.closed === undefined ? undefined : { code: 'E_PAUSED', message: harness.closed, step: 'closed' },
    usedNodeHours: () => 0,
    usedByDelegation: () => 0,
    retentionS: 3600,
    allowOlderEpoch: false,
    onPacksAgain: () => {
      harness.again += 1;
    },
  });
  return harness;
}

export interface Delivery {
  readonly ticket: DeliveredTicket;
  readonly chain: readonly string[];
  readonly manifest: Uint8Array;
}

const inlineArg = (bytes: Uint8Array): Arg => ({
  name: 'x',
  type: 'json',
  at: 'inline',
  digest: digestOf(bytes),
  size: bytes.byteLength,
});

type Changes = Partial<Claims<'farfield-ticket+jwt'>>;

function common(party: Party, dlgText: string, changes: Changes): Claims<'farfield-ticket+jwt'> {
  const dlg = digestOf(dlgText.slice(0, dlgText.lastIndexOf('.')));
  return ticketClaims(party, dlg, {
    fn: { name: 'test/noop', version: '1.2.0', manifest: party.manifestDigest },
    mdl: [],
    ...changes,
  });
}

/** A single call of the no-op with these bytes inline. */
export function single(
  party: Party,
  text: string,
  changes: Changes = {},
  delegation: string = newDelegation(party),
): Delivery {
  const bytes = Buffer.from(JSON.stringify(text));
  const claims = { ...common(party, delegation, changes), args: changes.args ?? [inlineArg(bytes)] };
  const inline = claims.args.filter((arg) => arg.at === 'inline').map(() => bytes);
  return {
    chain: [delegation],
    manifest: Buffer.from(party.manifest),
    ticket: {
      id: '',
      deliveryEpoch: 1,
      ticket: signToken('farfield-ticket+jwt', claims, party.session),
      chain: 0,
      manifest: 0,
      leaves: new Uint8Array(),
      items: [0],
      itemSizes: [],
      itemBytes: new Uint8Array(),
      inlineSizes: inline.map((each) => each.byteLength),
      inline: Buffer.concat(inline),
    },
  };
}

export interface Batch {
  /** A delivery of these items. */
  part(items: readonly number[]): Delivery;
  readonly n: number;
}

export function batch(
  party: Party,
  bodies: readonly ItemBody[],
  inline: readonly Uint8Array[],
  changes: Changes = {},
): Batch {
  const bytes = bodies.map((body) => Buffer.from(JSON.stringify(body)));
  const leaves = leafList(
    bytes.map((each) => each.byteLength),
    Buffer.concat(bytes),
  );
  const delegation = newDelegation(party);
  const { args: _args, ...rest } = common(party, delegation, changes);
  const claims = { ...rest, itm: { kind: 'list1', n: bodies.length, sha256: itemsRoot(leaves) } } as const;
  const ticket = signToken('farfield-batch+jwt', claims, party.session);
  return {
    n: bodies.length,
    part(items) {
      const own = items.flatMap((i) =>
        bodies[i]?.args.some((arg) => arg.at === 'inline') ? [inline[i] ?? Buffer.alloc(0)] : [],
      );
      return {
        chain: [delegation],
        manifest: Buffer.from(party.manifest),
        ticket: {
          id: '',
          deliveryEpoch: 1,
          ticket,
          chain: 0,
          manifest: 0,
          leaves,
          items: [...items],
          itemSizes: items.map((i) => bytes[i]?.byteLength ?? 0),
          itemBytes: Buffer.concat(items.map((i) => bytes[i] ?? Buffer.alloc(0))),
          inlineSizes: own.map((each) => each.byteLength),
          inline: Buffer.concat(own),
        },
      };
    },
  };
}

/** `n` items with distinct inline arguments. */
export function noopBatch(party: Party, n: number, changes: Changes = {}): Batch {
  const inline = Array.from({ length: n }, (_, i) => Buffer.from(JSON.stringify(`item ${i}`)));
  return batch(
    party,
    inline.map((bytes) => ({ args: [inlineArg(bytes)] })),
    inline,
    changes,
  );
}

export function endOf(item: Launched, changes: Partial<AttemptEnd> = {}): AttemptEnd {
  return {
    key: item.key,
    attempt: item.attempt,
    leaseEpoch: item.leaseEpoch,
    status: 'succeeded',
    detail: { res: { type: 'json', at: 'inline', size: 2 } },
    meas: { node: 'node1' },
    resultDigest: Buffer.from(digestOf('ok').slice(7), 'hex'),
    result: Buffer.from('ok'),
    charged: false,
    ...changes,
  };
}

/** Every receipt that the agent has signed so far, verified as a client would. */
export function receipts(harness: Harness): OpenedItem[] {
  const { party } = harness;
  return harness.packs.flatMap(({ pack }) => [
    ...openPack(pack, { endpoint: party.root.kid, onlineKey: party.online.jwk, principal: party.principal.kid }),
  ]);
}

/** Lets microtasks and the in-memory store go on until nothing moves. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
