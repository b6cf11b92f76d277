/**
 * farfield-runner: the process inside a container that computes.
 *
 *     farfield-runner pipe                       frames on stdin and stdout, log on stderr (started by a pilot)
 *     farfield-runner describe --model DIR       what the model takes and gives; JSON
 *     farfield-runner probe    --model DIR       which variants can run here, and why the others cannot; JSON
 *     farfield-runner selftest --model DIR       loads the model and runs its golden check; JSON
 *     farfield-runner init FILE.onnx                a model.json with what the file says of itself
 *     farfield-runner calibrate --model DIR --input F:/ds --labels F:/ds --out FILE   makes an error calibration; JSON
 *     farfield-runner batch    --model DIR --input F:/ds --out FOLDER --shard I/N   one shard of a job array
 *     farfield-runner merge    FOLDER --out FILE  all shards as one result
 *     farfield-runner serve    --model DIR --listen unix:PATH|127.0.0.1:PORT   the Open Inference Protocol over HTTP
 *
 * Lean on purpose: it starts once for every slot, so nothing is imported before it is needed. ONNX Runtime and HDF5 (45 MB
 * and 40 MB, 50 and 140 ms) load when an adapter asks for them, at the same time.
 */
import { fstatSync } from 'node:fs';
import { cpus, hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { CallAdapter } from './adapters/adapter.ts';
import { EXIT } from './exits.ts';
import { threadsProblem } from './limits.ts';
import { runPipe } from './pipe.ts';

const clock = systemClock;

/** Adapters by name. Loaded on first use: `describe` needs none of them. */
const ADAPTERS: Readonly<Record<string, () => Promise<CallAdapter>>> = {
  noop: async () => (await import('./adapters/noop.ts')).createNoop(clock),
  fake: async () => (await import('./adapters/fake.ts')).createFake(clock),
  program: async () =>
    (await import('./adapters/program.ts')).createProgram({
      env: process.env,
      log: (bytes) => void process.stderr.write(bytes),
    }),
  ort: async () => (await import('./model-calls.ts')).createModelCalls('ort', clock),
};

const USAGE = `farfield-runner VERB --help, of which VERB is
  describe | probe | selftest --model DIR [--threads N] [--variant NAME]
  init FILE.onnx
  calibrate --model DIR --input FILE:/dataset --labels FILE:/dataset --out FILE
  batch --model DIR --input FILE:/dataset --out FOLDER [--shard I/N]
  merge FOLDER --out FILE
  serve --model DIR --listen unix:PATH|127.0.0.1:PORT
  pipe
`;

/** Answers the exit code. Usage mistakes are told on stderr, findings on stdout. */
async function main(argv: readonly string[]): Promise<number> {
  const help = argv.includes('--help') || argv.includes('-h');
  if (argv[0] === 'calibrate') {
    const { CALIBRATE_USAGE, runCalibrate } = await import('./uncertainty/command.ts');
    if (help) return printed(CALIBRATE_USAGE);
    return runCalibrate(argv.slice(1), {
      clock,
      threads: Math.min(2, cpus().length),
      print: (text) => process.stdout.write(text),
      complain: (text) => process.stderr.write(text),
    });
  }
  if (argv[0] === 'serve') {
    const { runServe, SERVE_USAGE } = await import('./serve/command.ts');
    if (help) return printed(SERVE_USAGE);
    return runServe(argv.slice(1), {
      clock,
      threads: Math.min(2, cpus().length),
      print: (text) => process.stdout.write(text),
      complain: (text) => process.stderr.write(text),
      onStop: (stop) => void process.once('SIGTERM', stop).once('SIGINT', stop),
    });
  }
  if (argv[0] === 'init') {
    const { runInit } = await import('./init.ts');
    return runInit(argv.slice(1), {
      print: (text) => process.stdout.write(text),
      complain: (text) => process.stderr.write(text),
    });
  }
  if (argv[0] === 'batch' || argv[0] === 'merge') {
    const { runBatch, runMerge } = await import('./batch/command.ts');
    return (argv[0] === 'batch' ? runBatch : runMerge)(argv.slice(1), {
      clock,
      threads: Math.min(2, cpus().length),
      env: process.env,
      self: { host: hostname(), pid: process.pid, nonce: Buffer.from(systemRandom.bytes(8)).toString('hex') },
      print: (text) => process.stdout.write(text),
      complain: (text) => process.stderr.write(text),
      watched: process.stderr.isTTY === true,
      eventsOpen: givenDescriptor(3),
      onStop: (stop) => void process.on('SIGTERM', stop).on('SIGINT', stop),
    });
  }
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(argv);
  } catch (reason) {
    process.stderr.write(`${reason instanceof Error ? reason.message : String(reason)}\n${USAGE}`);
    return EXIT.usage;
  }
  const { positionals, values } = parsed;
  const [command, ...rest] = positionals;
  if (values.help === true) return printed(USAGE);
  if (command === 'pipe' && rest.length === 0) return pipe();
  const commands = await import('./commands.ts');
  const run = commands.COMMANDS[command ?? ''];
  const threads = values.threads === undefined ? Math.min(2, cpus().length) : Number(values.threads);
  if (run === undefined || rest.length > 0 || values.model === undefined || threadsProblem(threads) !== undefined) {
    const problem = values.threads === undefined ? undefined : threadsProblem(threads);
    process.stderr.write(problem === undefined ? USAGE : `${problem}\n${USAGE}`);
    return EXIT.usage;
  }
  return run({
    model: values.model,
    variant: values.variant,
    threads,
    clock,
    print: (text) => process.stdout.write(text),
  });
}

function printed(text: string): number {
  process.stdout.write(text);
  return EXIT.ok;
}

/**
 * Whether whoever started this process opened the descriptor for it. Node's own are neither pipes, files nor sockets below 5, and
 * its channel to a parent that is Node names itself.
 */
function givenDescriptor(fd: number): boolean {
  if (process.env.NODE_CHANNEL_FD === String(fd)) return false;
  try {
    const facts = fstatSync(fd);
    return facts.isFile() || facts.isFIFO() || facts.isSocket();
  } catch {
    return false;
  }
}

/** Throws a TypeError on an option that does not exist. */
function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      model: { type: 'string' },
      variant: { type: 'string' },
      threads: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

/** Frames own stdout: whatever else would print there (console, a library) goes to stderr from here on. */
function pipe(): Promise<number> {
  const output = process.stdout;
  Object.defineProperty(process, 'stdout', { get: () => process.stderr });
  globalThis.console = new console.Console(process.stderr, process.stderr);
  return runPipe({
    input: process.stdin,
    output,
    clock,
    createAdapter: (name) =>
      Object.hasOwn(ADAPTERS, name) ? lazy(ADAPTERS[name] as () => Promise<CallAdapter>) : undefined,
    log: (text) => process.stderr.write(`${text}\n`),
    memory: () => ({
      rssBytes: process.memoryUsage.rss(),
      peakRssBytes: process.resourceUsage().maxRSS * 1024,
    }),
  });
}

/** An adapter whose module is imported by its first verb, which is `load` or `probe`. */
function lazy(open: () => Promise<CallAdapter>): CallAdapter {
  let adapter: CallAdapter | undefined;
  const opened = async (): Promise<CallAdapter> => (adapter ??= await open());
  return {
    probe: async () => (await opened()).probe(),
    load: async (request) => (await opened()).load(request),
    infer: (call) => (adapter as CallAdapter).infer(call),
    broken: () => adapter?.broken?.(),
    stats: () => adapter?.stats() ?? {},
    close: async () => adapter?.close(),
  };
}

// ONNX Runtime sends usage to its maker unless this is set before it loads. A node of a site tells nobody what runs on it.
process.env.ORT_DISABLE_TELEMETRY = '1';

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (reason: unknown) => {
    const error = FarfieldError.from(reason);
    // The message alone for expected failures; a defect needs its stack.
    process.stderr.write(
      `${reason instanceof FarfieldError ? `${error.code} ${error.message}` : (error.stack ?? error.message)}\n`,
    );
    process.exit(reason instanceof FarfieldError ? EXIT.load : EXIT.defect);
  },
);
