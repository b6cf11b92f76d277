/**
 * No-ops in batches of 1,000 over two nodes with two slots each, through Parsl's HighThroughputExecutor and through Farfield,
 * as one JSON line: parsl.ts FOLDER COUNT, in the network of the cluster's `desk` (test/bench/parsl.ts).
 *
 * 1. Neither is in a container, both are one Slurm job of two nodes started by srun, both were used before the clock runs, and
 *    each result of both is checked against its argument.
 * 2. Parsl first finds its own best settings with a tenth of the tasks; the two best then run all of them, and the faster counts.
 * 3. Farfield runs half of its tasks before Parsl's run and half after it, so that a slow minute of the machine is nobody's gain.
 * 4. Farfield is what it is everywhere: TLS between four hosts, commits at broker and agent, each receipt verified.
 */
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { type Cluster, joinCluster, REPO, until } from '../cluster.ts';
import { jobsOf, openWorld } from '../world.ts';

const BATCH = 1000;
/** Batches on their way at once. */
const OUTSTANDING = 4;
const HEAD = '10.77.0.1';
const SHARED = '/shared/parsl';

export interface ParslSettings {
  readonly prefetch: number;
  readonly encrypted: boolean;
  readonly poll_ms: number;
}

export interface ParslTrial {
  readonly count: number;
  /** 0: all. */
  readonly outstanding: number;
  readonly seconds: number;
  readonly startS: number;
}

export interface ParslFound {
  readonly count: number;
  readonly farfieldSeconds: number;
  /** Tasks a second before Parsl's runs and after them: how much the machine changed. */
  readonly halves: readonly number[];
  readonly trials: readonly (ParslSettings & ParslTrial)[];
  /** With all the tasks. */
  readonly best: ParslSettings & ParslTrial;
  /** Without prefetch, as it is shipped. */
  readonly shippedPerSecond: number;
}

const SHIPPED: ParslSettings = { prefetch: 0, encrypted: true, poll_ms: 10 };
const CANDIDATES: readonly ParslSettings[] = [
  SHIPPED,
  { prefetch: 20, encrypted: true, poll_ms: 10 },
  { prefetch: 100, encrypted: true, poll_ms: 10 },
  { prefetch: 500, encrypted: true, poll_ms: 10 },
  { prefetch: 100, encrypted: false, poll_ms: 10 },
  { prefetch: 100, encrypted: false, poll_ms: 100 },
  { prefetch: 500, encrypted: false, poll_ms: 100 },
];

const rate = ({ count, seconds }: { readonly count: number; readonly seconds: number }): number => count / seconds;

/** Its own jobs: Farfield's may run on. */
async function noJobs(cluster: Cluster): Promise<void> {
  await until('no job is left', async () =>
    (await jobsOf(cluster, 'alice')).every(
      ({ name, state }) => !name.startsWith('parsl.') || !/RUNNING|COMPLETING|PENDING/.test(state),
    ),
  );
}

let runs = 0;

async function parsl(cluster: Cluster, settings: ParslSettings, trials: readonly string[]): Promise<ParslTrial[]> {
  runs += 1;
  const program = [`${SHARED}/venv/bin/python`, `${SHARED}/parsl_bench.py`];
  const argv = [...program, `/home/alice/parsl-${runs}`, HEAD, JSON.stringify(settings), ...trials];
  const path = `${SHARED}/venv/bin:/usr/bin:/bin`;
  const { code, stdout, stderr } = await cluster.run('head', ['timeout', '600', ...argv], {
    user: 'alice',
    env: { PATH: path, PYTHONPATH: SHARED, HOME: '/home/alice' },
  });
  if (code !== 0) throw new Error(`Parsl with ${JSON.stringify(settings)} ended with ${code}: ${stderr.slice(-3000)}`);
  await noJobs(cluster);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  if (lines.length !== trials.length)
    throw new Error(`Parsl ran ${lines.length} of ${trials.length} trials: ${stdout}`);
  return lines.map((line) => JSON.parse(line) as ParslTrial);
}

/** What the runner's `noop` answers to these bytes (runner/adapters/noop.ts). */
function answerTo(bytes: Uint8Array, size: number): Buffer {
  const digest = hash('sha256', bytes, 'buffer');
  const parts = Array.from({ length: Math.ceil(size / 32) }, (_, k) => {
    const counter = Buffer.alloc(4);
    counter.writeUInt32BE(k);
    return hash('sha256', Buffer.concat([digest, counter]), 'buffer');
  });
  return Buffer.concat(parts).subarray(0, size);
}

const RESULT_BYTES = 32;

interface Farfield extends AsyncDisposable {
  /** Seconds from the first submit to the last checked result. */
  run(count: number): Promise<number>;
}

async function openFarfield(cluster: Cluster): Promise<Farfield> {
  const world = await openWorld(cluster, { built: true, runtime: 'process' });
  const endpoint = await world.addEndpoint({
    name: 'pair',
    user: 'alice',
    batch: { nodes: 2, launcher: 'srun', memMiB: 4096 },
  });
  const path = await world.sign('noop', 'noop', { outBytes: RESULT_BYTES });
  const { client } = world;
  const manifest = readFileSync(path, 'utf8');
  const { claims, digest } = openManifest(readFileSync(path), []);
  const terms = {
    endpoint: endpoint.id,
    subject: client.subject,
    delegation: client.delegation,
    fn: { name: claims.name, version: claims.version, manifest: digest },
    models: [],
    resources: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 256, wallS: 300 },
    run: { maxFailures: 3, maxStarts: 8, timeoutS: 300, uncertainty: { method: 'l2', samples: 0, level: 0.95 } },
    output: { maxBytes: 1 << 20, to: 'return' },
  } as const;
  /** The nodes that it ran on. */
  const batch = async (first: number, size: number): Promise<Set<string>> => {
    const args = Array.from({ length: size }, (_, i) => Buffer.from(String(first + i)));
    const items = args.map((bytes) => ({ args: [{ name: 'x', type: 'json' as const, bytes }] }));
    const { ticket } = await client.submit({ terms, manifest, items, batch: true });
    const nodes = new Set<string>();
    const outcomes = await ticket.all();
    for (const [i, bytes] of args.entries()) {
      const outcome = outcomes[i];
      if (outcome?.i !== i || outcome.status !== 'succeeded') throw new Error(`task ${first + i} did not succeed`);
      if (outcome.result === undefined || !answerTo(bytes, RESULT_BYTES).equals(outcome.result))
        throw new Error(`task ${first + i} has another one's answer`);
      nodes.add(String(outcome.meas.node));
    }
    return nodes;
  };
  return {
    async run(count) {
      // Until both nodes have their pilots and runners.
      const warm = new Set<string>();
      await until('both nodes work', async () => {
        for (const node of await batch(0, BATCH)) warm.add(node);
        return warm.size === 2;
      });
      let next = 0;
      const nodes = new Set<string>();
      const lane = async (): Promise<void> => {
        while (next < count) {
          const first = next;
          next += BATCH;
          for (const node of await batch(first, Math.min(BATCH, count - first))) nodes.add(node);
        }
      };
      const began = performance.now();
      await Promise.all(Array.from({ length: OUTSTANDING }, lane));
      const seconds = (performance.now() - began) / 1000;
      if (nodes.size !== 2) throw new Error(`the tasks ran on ${[...nodes].join(', ')} alone`);
      return seconds;
    },
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

async function main(folder: string, count: number): Promise<ParslFound> {
  const cluster = joinCluster(folder);
  const driver = readFileSync(join(REPO, 'test/cluster/slurm/parsl_bench.py'), 'utf8');
  await cluster.run('head', ['sh', '-c', `cat > ${SHARED}/parsl_bench.py`], { input: driver });
  await cluster.sh(
    'head',
    `python3 -m venv ${SHARED}/venv && ${SHARED}/venv/bin/pip install -q --no-index --find-links ${SHARED}/wheels parsl`,
  );
  const few = Math.max(BATCH, Math.round(count / 10 / BATCH) * BATCH);
  const trials: (ParslSettings & ParslTrial)[] = [];
  for (const settings of CANDIDATES) {
    const found = await parsl(cluster, settings, [`${few}:0`, `${few}:${OUTSTANDING}`]);
    trials.push(...found.map((trial) => ({ ...settings, ...trial })));
  }
  const shipped = trials.find(({ prefetch }) => prefetch === SHIPPED.prefetch);
  if (shipped === undefined) throw new Error('no trial of the settings as shipped');
  // 3. Idle meanwhile, which costs it next to nothing.
  await using farfield = await openFarfield(cluster);
  const half = Math.ceil(count / 2 / BATCH) * BATCH;
  const before = await farfield.run(half);
  // Two, since the best of many short trials owes something to luck.
  const whole: (ParslSettings & ParslTrial)[] = [];
  for (const { prefetch, encrypted, poll_ms, outstanding } of fastestFirst(trials).slice(0, 2)) {
    const settings = { prefetch, encrypted, poll_ms };
    for (const trial of await parsl(cluster, settings, [`${count}:${outstanding}`]))
      whole.push({ ...settings, ...trial });
  }
  const [best] = fastestFirst(whole);
  if (best === undefined) throw new Error('no run of all tasks');
  const after = await farfield.run(count - half);
  const halves = [half / before, (count - half) / after];
  return {
    count,
    farfieldSeconds: before + after,
    halves,
    best,
    trials: [...trials, ...whole],
    shippedPerSecond: rate(shipped),
  };
}

function fastestFirst<T extends ParslTrial>(trials: readonly T[]): T[] {
  return [...trials].sort((a, b) => rate(b) - rate(a));
}

const [folder = '', count = '60000'] = process.argv.slice(2);
process.stdout.write(`${JSON.stringify(await main(folder, Number(count)))}\n`);
