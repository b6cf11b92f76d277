/**
 * A user's program under load, as a process of its own so that it can be killed: `load.ts HOME HISTORY LIFE MANIFEST ENDPOINT SEED`.
 *
 * It submits no-ops, single and in batches, at about 260 a second, and writes what it did and saw to the history before or
 * after the fact, as the checker wants it. A later life first attaches to every ticket of tickets.jsonl that the history
 * does not show as ended. A line on stdin ends the load; the process ends when everything has.
 *
 * The history needs no fsync: it must outlive this process, not the machine.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '#base/clock.ts';
import { createSeededRandom, systemRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { type Client, createClient } from '../../client/ts/client.ts';
import { openHome, type SentTicket } from '../../client/ts/home.ts';
import type { Outcome } from '../../client/ts/outcome.ts';
import type { ItemInput } from '../../client/ts/submission.ts';
import type { Ticket } from '../../client/ts/tracker.ts';
import { type CrashEvent, parseHistory } from './checker.ts';

const [home = '', history = '', lifeText = '1', manifestFile = '', endpoint = '', seed = '0'] = process.argv.slice(2);
const life = Number(lifeText);
const user = openHome(home);
const manifest = readFileSync(manifestFile, 'utf8');
const opened = openManifest(readFileSync(manifestFile), []);
const random = createSeededRandom(`${seed}/${life}`);

const MAX_STARTS = 8;
const TICK_MS = 50;
const BATCH_ITEMS = 12;
/** Beyond this a broker that is away is waited for: a backlog of minutes would test patience, not crashes. */
const MAX_OUTSTANDING = 4000;
const ATTACH_PAUSE_MS = 200;

const write = (...events: CrashEvent[]): void =>
  appendFileSync(history, events.map((event) => `${JSON.stringify(event)}\n`).join(''));

let outstanding = 0;
/** Labels of the tickets that are on their way to be noted: signing and noting keep their order. */
const labels: string[] = [];

const client = createClient({
  broker: await user.profile(),
  session: await user.session(systemClock.now() / 1000),
  clock: systemClock,
  random: systemRandom,
  submitPatienceMs: 300_000,
  async noteTickets(tickets) {
    write(
      ...tickets.map(({ id, n }) => ({ kind: 'submit' as const, life, id, n, label: labels.shift() ?? 'no label' })),
    );
    await user.noteTickets(tickets);
  },
  onNotice(message) {
    if (/differing|another endpoint|ignored|not accepted/.test(message)) write({ kind: 'alarm', life, message });
    else process.stderr.write(`life ${life}: ${message}\n`);
  },
});

/** What ended before anybody could listen is asked for, item by item; what ends later is told to the listener first. */
function follow(ticket: Ticket, known: ReadonlySet<number> = new Set()): void {
  const told = new Set<number>();
  const tell = ({ i, status, attempt, result, detail }: Outcome): CrashEvent => {
    told.add(i);
    if (!known.has(i)) outstanding -= 1;
    const answer = Buffer.from(result ?? []).toString('hex');
    const code = detail.err === undefined ? {} : { code: detail.err.code };
    return { kind: 'done', life, id: ticket.id, i, status, attempt, answer, ...code };
  };
  ticket.onOutcomes((group) => write(...group.fresh.map((k) => tell(group.outcome(k)))));
  for (let i = 0; i < ticket.n; i++) {
    ticket.item(i).then(
      (outcome) => {
        if (!told.has(i)) write(tell(outcome));
      },
      // The checker finds what is missing; this only says why.
      (cause: unknown) => process.stderr.write(`life ${life}: ${FarfieldError.from(cause).message}\n`),
    );
  }
}

function inputs(label: string, n: number): ItemInput[] {
  return Array.from({ length: n }, (_, i) => ({
    args: [{ name: 'x', type: 'bytes' as const, bytes: Buffer.from(`${label}/${i}`) }],
  }));
}

async function submit(to: Client, label: string, n: number): Promise<void> {
  labels.push(label);
  outstanding += n;
  try {
    const { ticket } = await to.submit({
      terms: {
        endpoint,
        subject: to.subject,
        delegation: to.delegation,
        fn: { name: opened.claims.name, version: opened.claims.version, manifest: opened.digest },
        models: opened.claims.models,
        resources: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 256, wallS: 600 },
        run: {
          maxFailures: 3,
          maxStarts: MAX_STARTS,
          timeoutS: 600,
          uncertainty: { method: 'l2', samples: 0, level: 0.95 },
        },
        output: { maxBytes: 64 * 1024 * 1024, to: 'return' },
      },
      manifest,
      items: inputs(label, n),
    });
    write({ kind: 'ack', life, id: ticket.id });
    follow(ticket);
  } catch (cause) {
    outstanding -= n;
    process.stderr.write(`life ${life}: ${label} was not taken: ${FarfieldError.from(cause).message}\n`);
  }
}

/** Attaches again until it succeeds or the broker says that it never had the ticket (it was noted and not sent). */
async function reattach(sent: SentTicket, known: ReadonlySet<number>): Promise<void> {
  outstanding += sent.n - known.size;
  for (;;) {
    try {
      follow(await client.attach(sent.id), known);
      return;
    } catch (cause) {
      const error = FarfieldError.from(cause);
      if (!error.retryable) {
        outstanding -= sent.n - known.size;
        process.stderr.write(`life ${life}: ${sent.id}: ${error.message}\n`);
        return;
      }
      await sleep(ATTACH_PAUSE_MS);
    }
  }
}

const shown = new Map<string, Set<number>>();
for (const event of life === 1 ? [] : parseHistory(readFileSync(history, 'utf8'))) {
  if (event.kind === 'done') shown.set(event.id, (shown.get(event.id) ?? new Set()).add(event.i));
}
const before = (await user.sentTickets()).filter(({ id, n }) => (shown.get(id)?.size ?? 0) < n);
await client.connect();
await Promise.all(before.map((sent) => reattach(sent, shown.get(sent.id) ?? new Set())));
process.stdout.write('ready\n');

let stopping = false;
process.stdin.once('data', () => {
  stopping = true;
});
const submits = new Set<Promise<void>>();
for (let tick = 0; !stopping; tick++) {
  for (const n of [1, BATCH_ITEMS]) {
    if (outstanding >= MAX_OUTSTANDING) continue;
    const one = submit(client, `${seed}/${life}/${tick}/${n}`, n).finally(() => submits.delete(one));
    submits.add(one);
  }
  await sleep(TICK_MS * (0.5 + random.uniform()));
}
while (submits.size > 0 || outstanding > 0) await sleep(TICK_MS);
await client[Symbol.asyncDispose]();
process.stdin.destroy();
