/** A client library with a session of its own, on a clock that the test moves, against a broker's HTTP double. */
import type { Test } from 'tap';
import { createManualClock, type ManualClock, systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { openChain } from '#kernel/chain.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/sign.ts';
import { openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import { type Client, type ClientOptions, createClient, type SubmitInput } from '../../client/ts/client.ts';
import type { SentTicket } from '../../client/ts/home.ts';
import type { Ticket } from '../../client/ts/tracker.ts';
import {
  createFakeEndpoint,
  type FakeBroker,
  type FakeEndpoint,
  type PackOf,
  sendJson,
  startFakeBroker,
} from '../fakes/broker-http.ts';

export const MANIFEST = signManifest(
  {
    v: 1,
    name: 'test/noop',
    version: '1.0.0',
    kind: 'model',
    adapter: 'noop',
    args: [{ name: 'x', types: ['json'] }],
    models: [],
    variants: [{ name: 'any', runtimes: ['process'] }],
  },
  [signerFrom(generateKey())],
);

export interface Parts {
  readonly clock: ManualClock;
  readonly broker: FakeBroker;
  readonly endpoint: FakeEndpoint;
  readonly client: Client;
  readonly principal: Signer;
  readonly notices: string[];
  readonly sent: SentTicket[];
  /** A call of `n` items that the double says it took. */
  submit(n?: number): Promise<{ ticket: Ticket; of: PackOf }>;
  input(n?: number): SubmitInput;
  /** Moves the clock until `condition` holds. */
  until(condition: () => boolean): Promise<void>;
}

export function delegation(clock: ManualClock, principal: Signer, session: Signer, lifeS = 12 * 3600): string {
  const iat = Math.floor(clock.now() / 1000);
  return signToken(
    'farfield-delegation+jwt',
    {
      v: 1,
      iss: principal.kid,
      jwk: principal.jwk,
      sub: { iss: 'pin', id: 'tester' },
      cnf: session.jwk,
      use: 'session',
      iat,
      exp: iat + lifeS,
      adm: iat + lifeS,
      scope: {},
    },
    principal,
  );
}

export async function startParts(t: Test, more: Partial<ClientOptions> = {}): Promise<Parts> {
  const clock = createManualClock(systemClock.now());
  const endpoint = createFakeEndpoint(clock);
  const broker = await startFakeBroker(t, [endpoint]);
  const [principal, signer] = [signerFrom(generateKey()), signerFrom(generateKey())];
  const chain = [delegation(clock, principal, signer)];
  const notices: string[] = [];
  const sent: SentTicket[] = [];
  const client = createClient({
    broker: { url: broker.url, ca: '', brokerId: 'B'.repeat(43) },
    session: { signer, chain, opened: openChain(chain) },
    clock,
    random: systemRandom,
    onNotice: (message) => notices.push(message),
    noteTickets: async (tickets) => void sent.push(...tickets),
    sentTicket: async (id) => sent.find((each) => each.id === id),
    ...more,
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  broker.routes.set('POST /v1/invocations', (_, response, body) => sendJson(response, taken(body, sent)));
  broker.routes.set('GET /v1/invocations/', (request, response) => {
    if (request.url?.includes('/packs')) return sendJson(response, { packs: [] });
    const known = sent.find(({ id }) => request.url?.includes(id));
    sendJson(response, { ...known, exp: 0, counts: { queued: 1 }, items: [] });
  });
  const input = (n = 1): SubmitInput => ({
    manifest: MANIFEST,
    items: Array.from({ length: n }, (_, i) => ({
      args: [{ name: 'x', type: 'json' as const, bytes: Buffer.from(`{"i":${i}}`) }],
    })),
    terms: {
      endpoint: endpoint.id,
      subject: client.subject,
      delegation: client.delegation,
      fn: { name: 'test/noop', version: '1.0.0', manifest: openManifest(MANIFEST, []).digest },
      models: [],
      resources: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 64, wallS: 60 },
      run: { maxFailures: 1, maxStarts: 2, timeoutS: 10 },
      output: { maxBytes: 1024, to: 'return' },
    },
  });
  return {
    clock,
    broker,
    endpoint,
    client,
    principal,
    notices,
    sent,
    input,
    async submit(n = 1) {
      const { ticket } = await client.submit(input(n));
      const { jti = '', hash = '' } = sent.find(({ id }) => id === ticket.id) ?? {};
      return { ticket, of: { principal: principal.kid, id: ticket.id, jti, ticketHash: hash } };
    },
    async until(condition) {
      while (!condition()) {
        await clock.drive(50);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
  };
}

/** "Queued", for as many tickets as the submission's header lists. */
export function taken(body: Buffer, sent: readonly SentTicket[], outcome = 'queued'): object {
  const head = JSON.parse(body.subarray(4, 4 + body.readUInt32LE(0)).toString()) as { tickets: unknown[] };
  const mine = sent.slice(-head.tickets.length);
  return { tickets: mine.map(({ id, n }) => ({ outcome, id, n, endpointOnline: true })) };
}
