/** The command line as an admin types it, against a folder or against an agent in this process. */
import { PassThrough } from 'node:stream';
import type { CliContext } from '#base/cli.ts';
import { type Clock, systemClock } from '#base/clock.ts';
import { serveControl } from '#base/control.ts';
import { systemRandom } from '#base/random.ts';
import { controlHandlers } from '../../../agent/control.ts';
import { runCli } from '../../../client/cli/main.ts';
import type { Site } from '../site.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Typed {
  readonly home: string;
  /** Wall time of the folder's keys, where that is not this machine's. */
  readonly now?: () => number;
  /** Interrupts a verb that follows something, once it printed this. */
  readonly until?: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a verb as the shell would. */
export async function type({ home, now, until, env = {} }: Typed, ...argv: string[]): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = { stdout: '', stderr: '' };
  const stop = new AbortController();
  stdout.on('data', (chunk) => {
    texts.stdout += String(chunk);
    if (until?.test(texts.stdout) === true) stop.abort();
  });
  stderr.on('data', (chunk) => {
    texts.stderr += String(chunk);
  });
  const clock: Clock = now === undefined ? systemClock : { ...systemClock, now };
  const context: CliContext = {
    env,
    stdin: new PassThrough(),
    stdout,
    stderr,
    cwd: home,
    home,
    clock,
    random: systemRandom,
    signal: stop.signal,
    self: [process.execPath, 'farfield'],
  };
  const code = await runCli(argv, context);
  await new Promise((resolve) => setImmediate(resolve));
  return { code, ...texts };
}

/** The first line of --json. */
export function answer(ran: Ran): Record<string, unknown> {
  return JSON.parse(ran.stdout.split('\n')[0] ?? '') as Record<string, unknown>;
}

export interface Desk extends AsyncDisposable {
  endpoint(verb: string, ...argv: string[]): Promise<Ran>;
  /** A verb that follows something, interrupted once it printed this. */
  until(until: RegExp, verb: string, ...argv: string[]): Promise<Ran>;
}

/** The verbs of a site's endpoint, over its control socket. */
export async function openDesk(site: Site): Promise<Desk> {
  const served = {
    server: await serveControl(site.folder.control, {
      ...controlHandlers({
        status: () => site.agent.status(),
        stop: (options) => site.agent.stop(options),
        reload: () => site.agent.reload(),
        resume: () => site.agent.resume(),
        drain: (reason) => site.agent.drain(reason),
        why: (text) => site.agent.why(text),
      }),
    }),
  };
  const typed = { home: site.folder.root, now: () => site.clock.now() };
  const run = (more: object, verb: string, argv: readonly string[]): Promise<Ran> =>
    type({ ...typed, ...more }, 'endpoint', verb, '--state', site.folder.root, ...argv);
  return {
    endpoint: (verb, ...argv) => run({}, verb, argv),
    until: (until, verb, ...argv) => run({ until }, verb, argv),
    [Symbol.asyncDispose]: async () => served.server[Symbol.asyncDispose](),
  };
}
