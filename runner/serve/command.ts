/** `farfield-runner serve`: its arguments, and its life from loading to the last answer. */
import { parseArgs } from 'node:util';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { EXIT } from '../exits.ts';
import { createHdf5Loader } from '../hdf5/library.ts';
import { MAX_BLOCKS_BYTES, threadsProblem } from '../limits.ts';
import { type Loaded, load } from '../model-calls.ts';
import { openScratch } from '../scratch.ts';
import { Batcher, type BatcherOptions } from './batcher.ts';
import { listenAt, type Place, parsePlace } from './listen.ts';
import { describeServed } from './served.ts';
import { OipServer } from './server.ts';

export const SERVE_USAGE =
  'farfield-runner serve --model DIR --listen unix:PATH|127.0.0.1:PORT [--threads N] [--variant NAME]\n' +
  '  [--max-batch ROWS] [--max-delay-us 0] [--max-queue 256] [--timeout-ms 30000]\n';

/** What server metadata states; a test holds it to package.json, which a built runner does not have beside it. */
export const VERSION = '0.1.0';

/** What a command may touch. */
export interface ServeOutput {
  readonly clock: Clock;
  readonly threads: number;
  /** Events, one JSON a line: listening, ready, draining, stopped. */
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
  /** Calls back, once or more, when the process is asked to end. */
  readonly onStop: (stop: () => void) => void;
}

const OPTIONS = {
  model: { type: 'string' },
  listen: { type: 'string' },
  variant: { type: 'string' },
  threads: { type: 'string' },
  'max-batch': { type: 'string' },
  'max-delay-us': { type: 'string' },
  'max-queue': { type: 'string' },
  'timeout-ms': { type: 'string' },
} as const;

interface ResolvedServe extends Omit<BatcherOptions, 'maxBatch'> {
  readonly model: string;
  readonly place: Place;
  readonly variant: string | undefined;
  readonly threads: number;
  /** The model's own largest batch where absent. */
  readonly maxBatch: number | undefined;
}

/** Answers an exit code of exits.ts. */
export async function runServe(args: readonly string[], output: ServeOutput): Promise<number> {
  let options: ResolvedServe;
  try {
    options = resolveServe(args, output.threads);
  } catch (reason) {
    output.complain(`${reason instanceof Error ? reason.message : String(reason)}\n${SERVE_USAGE}`);
    return EXIT.usage;
  }
  try {
    using scratch = openScratch('serve');
    await serve(options, scratch.path, output);
    return EXIT.ok;
  } catch (reason) {
    if (!(reason instanceof FarfieldError)) throw reason;
    tell(output, { event: 'failed', error: { code: reason.code, message: reason.message } });
    return EXIT.load;
  }
}

/**
 * Listens first and loads then: whoever probes sees a process that lives and is not ready, not one that is missing. A stop
 * while it loads ends it when the model is there, since a thread that loads cannot be asked to stop.
 */
async function serve(options: ResolvedServe, scratchDir: string, output: ServeOutput): Promise<void> {
  const { clock } = output;
  const stopped = new Promise<void>((resolve) => output.onStop(resolve));
  const server = new OipServer({
    clock,
    place: options.place,
    version: VERSION,
    log: (text) => output.complain(`${text}\n`),
  });
  const address = await listenAt(server.http, options.place);
  tell(output, { event: 'listening', address });
  let loaded: Loaded | undefined;
  try {
    const hdf5 = createHdf5Loader();
    const request = {
      modelRoot: options.model,
      variant: options.variant,
      entry: {},
      threads: options.threads,
      scratchDir,
    };
    loaded = await load('ort', request, { hdf5: () => hdf5.acquire(), scratchDir }, clock);
    const { lanes, open, golden } = loaded;
    const batcher = openBatcher(loaded, options, clock, server);
    tell(output, {
      event: 'ready',
      address,
      model: { name: open.model.name, version: open.model.version, digest: `sha256:${open.digest}` },
      lanes: lanes.count,
      golden: golden === undefined ? 'none' : 'passed',
    });
    await Promise.race([stopped, lanes.died]);
    tell(output, { event: 'draining' });
    await server.drain();
    if (lanes.broken !== undefined) throw lanes.broken;
    tell(output, { event: 'stopped', ...batcher.counts });
  } finally {
    await loaded?.lanes[Symbol.asyncDispose]();
    // Of no effect after a drain.
    server.http.close();
    server.http.closeAllConnections();
  }
}

function openBatcher(loaded: Loaded, options: ResolvedServe, clock: Clock, server: OipServer): Batcher {
  const { lanes, plan, open, calibration } = loaded;
  const served = describeServed(loaded);
  const { columns } = plan.output;
  // FP64 is the widest stored type; two blocks are in use.
  const roomRows = Math.max(1, Math.floor(MAX_BLOCKS_BYTES / 2 / (plan.sample.size * 8)));
  const batcher = new Batcher({
    ...options,
    maxBatch: Math.min(options.maxBatch ?? open.model.batch.max, roomRows),
    clock,
    lanes,
    layout: {
      sampleSize: plan.sample.size,
      columns,
      baselines: plan.baselines,
      signals: calibration?.value.reference === undefined ? 0 : plan.signals,
    },
    judge: served.judge,
    setsPerRow: served.judge.classes ? served.judge.levels.length * columns : 0,
  });
  server.open({ served, batcher, broken: () => lanes.broken });
  return batcher;
}

function tell({ print }: ServeOutput, event: Record<string, unknown>): void {
  print(`${JSON.stringify(event)}\n`);
}

function wholeThreads(text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const problem = text === '' ? '--threads is a number' : threadsProblem(Number(text));
  if (problem !== undefined) throw new FarfieldError('E_USAGE', problem);
  return Number(text);
}

/** Throws where something is missing, unknown or out of range. */
function resolveServe(args: readonly string[], threads: number): ResolvedServe {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  const whole = (name: keyof typeof OPTIONS, fallback: number, least: number, most: number): number => {
    const text = values[name];
    const value = text === undefined ? fallback : Number(text);
    if (text !== '' && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new FarfieldError('E_USAGE', `--${name} is a whole number from ${least} to ${most}`);
  };
  if (values.model === undefined) throw new FarfieldError('E_USAGE', '--model is missing');
  if (values.listen === undefined) throw new FarfieldError('E_USAGE', '--listen is missing');
  return {
    model: values.model,
    place: parsePlace(values.listen),
    variant: values.variant,
    threads: wholeThreads(values.threads, threads),
    maxBatch: values['max-batch'] === undefined ? undefined : whole('max-batch', 1, 1, 1_000_000),
    maxDelayMs: whole('max-delay-us', 0, 0, 10_000_000) / 1000,
    maxQueue: whole('max-queue', 256, 1, 100_000),
    timeoutMs: whole('timeout-ms', 30_000, 1, 3_600_000),
  };
}
