/**
 * `farfield broker`: for whoever runs one. All verbs but init and start ask the running broker over its control socket, which
 * only its own user reaches.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, SERVER_FLAGS, usage, writeJson, writeLine } from '#base/cli.ts';
import { callControl } from '#base/control.ts';
import { plainLine } from '#base/plain.ts';
import { pidAlive, startDetached } from '#base/process.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { THUMBPRINT } from '#kernel/ids.ts';
import type { InviteBody } from '../admin.ts';
import type { BrokerStatus } from '../broker.ts';
import { type BrokerFolder, brokerFolder, initBroker, readBrokerConfig } from '../config.ts';
import { renewGeneration } from './restored.ts';

interface StateOption {
  readonly state?: string;
}
interface InitOptions extends StateOption {
  readonly host: string;
  readonly name?: readonly string[];
  readonly port: string;
  readonly grpcPort: string;
}
type AdminStatus = BrokerStatus & { readonly pid: number; readonly rssBytes: number };

const STATE_HELP = 'the state folder (default: <home>/broker)';
/** The store opens, a certificate may be made: seconds on a slow disk. */
const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 30_000;
const LOOK_MS = 50;
/** A broker answers in milliseconds; one that is stopped or stuck takes the question and says nothing. */
const ANSWER_LIMIT_MS = 20_000;

export const register: RegisterVerb = (program, context) => {
  const broker = program.command('broker').description('run a broker (operators)');
  broker
    .command('init')
    .description('make a state folder: identity key, configuration')
    .option('--state <folder>', STATE_HELP)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option(
      '--name <name...>',
      'names under which clients and agents reach it; the first is in invitations (default: the address)',
    )
    .option('--port <port>', 'HTTPS port; 0 picks a free one now', '8443')
    .option('--grpc-port <port>', 'gRPC port; 0 picks a free one now', '8444')
    .action((options: InitOptions, command: Command) => init(context, options, isJson(command)));
  broker
    .command('start')
    .description('run it in the foreground, or detached')
    .option('--state <folder>', STATE_HELP)
    .option('--detach', 'return when it is up; it writes broker.log in its folder')
    .action((options: StateOption & { detach?: true }, command: Command) => start(context, options, isJson(command)));
  broker
    .command('stop')
    .description('stop it; nothing that it acknowledged is lost')
    .option('--state <folder>', STATE_HELP)
    .action((options: StateOption, command: Command) => stop(context, options, isJson(command)));
  broker
    .command('status')
    .description('what it holds and who is connected')
    .option('--state <folder>', STATE_HELP)
    .action((options: StateOption, command: Command) => status(context, options, isJson(command)));
  broker
    .command('invite')
    .description('print a one-use token, good for ten minutes')
    .option('--state <folder>', STATE_HELP)
    .option('--endpoint <id>', 'for the endpoint of this id (`farfield endpoint init` prints it)')
    .option('--user <kid>', 'for the user of this key (`farfield keys show` prints it)')
    .action((options: StateOption & { endpoint?: string; user?: string }, command: Command) =>
      invite(context, options, isJson(command)),
    );
  broker
    .command('restored')
    .description('after the folder came from a backup: begin a new generation, so that readers of events start over')
    .option('--state <folder>', STATE_HELP)
    .action((options: StateOption, command: Command) => restored(context, options, isJson(command)));
};

const isJson = (command: Command): boolean => command.optsWithGlobals<{ json?: boolean }>().json === true;

function folderOf(context: CliContext, { state }: StateOption): BrokerFolder {
  return brokerFolder(state === undefined ? join(context.home, 'broker') : resolve(context.cwd, state));
}

async function init(context: CliContext, options: InitOptions, json: boolean): Promise<void> {
  const folder = folderOf(context, options);
  const { host } = options;
  const port = await portOf(options.port, '--port', host);
  const grpcPort = await portOf(options.grpcPort, '--grpc-port', host);
  const names = options.name ?? [host];
  const { brokerId } = initBroker(folder, { v: 1, host, port, grpcPort, names: [...names] });
  if (json) return writeJson(context.stdout, { state: folder.root, brokerId, host, port, grpcPort, names });
  writeLine(context.stdout, `broker ${brokerId} in ${folder.root}, https port ${port}, grpc port ${grpcPort}`);
  writeLine(
    context.stdout,
    'start it with `farfield broker start`, then `farfield broker invite --user KID` and `--endpoint ID`',
  );
}

/** 0 becomes a port that is free now: the number is in every invitation, so it must stay the same from start to start. */
async function portOf(text: string, option: string, host: string): Promise<number> {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw usage(`${option} takes a port number, not "${text}"`);
  if (port > 0) return port;
  const server = createServer();
  await new Promise<void>((done, fail) => server.once('error', fail).listen(0, host, done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw usage(`no free port on ${host}`);
  return address.port;
}

const askStatus = (folder: BrokerFolder, signal?: AbortSignal): Promise<AdminStatus> =>
  callControl(folder.control, 'status', {}, signal) as Promise<AdminStatus>;

/** Undefined where no broker runs; one that has its socket and says nothing is said, and not waited for. */
async function statusOrNone(context: CliContext, folder: BrokerFolder): Promise<AdminStatus | undefined> {
  const limit = new AbortController();
  const silent = new FarfieldError(
    'E_TIMEOUT',
    `the broker in ${folder.root} does not answer in ${ANSWER_LIMIT_MS / 1000} s; its log is ${folder.log}`,
  );
  const timer = context.clock.after(ANSWER_LIMIT_MS, () => limit.abort(silent));
  try {
    return await askStatus(folder, AbortSignal.any([context.signal, limit.signal]));
  } catch (reason) {
    if (FarfieldError.from(reason).code === 'E_UNAVAILABLE') return undefined;
    throw reason;
  } finally {
    timer.cancel();
  }
}

async function start(context: CliContext, options: StateOption & { detach?: true }, json: boolean): Promise<void> {
  const folder = folderOf(context, options);
  readBrokerConfig(folder);
  const running = await statusOrNone(context, folder);
  if (running !== undefined)
    throw new FarfieldError('E_CONFLICT', `the broker in ${folder.root} is running (process ${running.pid})`);
  const main = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : './broker.mjs', import.meta.url));
  const [node = ''] = context.self;
  if (options.detach === true) return startInBackground(context, folder, [node, main], json);
  const child = spawn(node, [...SERVER_FLAGS, main, folder.root], { stdio: ['ignore', 'inherit', 'inherit'] });
  const stopChild = (): void => void child.kill('SIGTERM');
  context.signal.addEventListener('abort', stopChild, { once: true });
  const code = await new Promise<number | null>((done, fail) => child.once('error', fail).once('exit', done));
  context.signal.removeEventListener('abort', stopChild);
  if (code !== 0)
    throw new FarfieldError('E_UNAVAILABLE', `the broker ended with ${code ?? 'a signal'}; its log above says why`);
}

async function startInBackground(
  context: CliContext,
  folder: BrokerFolder,
  [node = '', main = '']: readonly string[],
  json: boolean,
): Promise<void> {
  const env = Object.entries(context.env).filter((pair): pair is [string, string] => pair[1] !== undefined);
  // Nothing of it keeps this command: whatever becomes of the broker, its starter says so and ends.
  const handle = await startDetached({
    command: node,
    args: [...SERVER_FLAGS, main, folder.root],
    env: Object.fromEntries(env),
    cwd: folder.root,
    logFile: folder.log,
    random: context.random,
    containment: 'none',
  });
  const until = context.clock.mono() + START_LIMIT_MS;
  for (let up: AdminStatus | undefined; ; up = await statusOrNone(context, folder)) {
    if (up !== undefined) {
      if (json) writeJson(context.stdout, { ...brief(up), state: folder.root });
      else writeLine(context.stdout, `broker ${up.brokerId} is up at ${up.url} (process ${up.pid})`);
      return;
    }
    if (!pidAlive(handle))
      throw new FarfieldError('E_UNAVAILABLE', `the broker did not start: ${lastLine(folder.log)}`);
    if (context.clock.mono() > until)
      throw new FarfieldError(
        'E_TIMEOUT',
        `the broker (process ${handle.pid}) does not answer after ${START_LIMIT_MS / 1000} s; its log is ${folder.log}`,
      );
    await context.clock.sleep(LOOK_MS, context.signal);
  }
}

function brief({ brokerId, url, grpc, pid }: AdminStatus): object {
  return { brokerId, url, grpc, pid };
}

function lastLine(path: string): string {
  const line = readFileSync(path, 'utf8').trim().split('\n').at(-1) ?? '';
  try {
    return plainLine((JSON.parse(line) as { msg?: string }).msg ?? line);
  } catch {
    return plainLine(line);
  }
}

async function stop(context: CliContext, options: StateOption, json: boolean): Promise<void> {
  const folder = folderOf(context, options);
  const running = await statusOrNone(context, folder);
  if (running !== undefined) await stopRunning(context, folder);
  if (json) return writeJson(context.stdout, { stopped: running !== undefined });
  writeLine(
    context.stdout,
    running === undefined ? 'no broker was running there' : `broker ${running.brokerId} is stopped`,
  );
}

/** Until its process is gone: whoever starts it again at once must find the folder unlocked. */
async function stopRunning(context: CliContext, folder: BrokerFolder): Promise<void> {
  const { pid } = await askStatus(folder, context.signal);
  await callControl(folder.control, 'stop', {}, context.signal);
  const until = context.clock.mono() + STOP_LIMIT_MS;
  while (isAlive(pid)) {
    if (context.clock.mono() > until)
      throw new FarfieldError(
        'E_TIMEOUT',
        `the broker (process ${pid}) is still ending after ${STOP_LIMIT_MS / 1000} s; its log is ${folder.log}`,
      );
    await context.clock.sleep(LOOK_MS, context.signal);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function restored(context: CliContext, options: StateOption, json: boolean): Promise<void> {
  const folder = folderOf(context, options);
  readBrokerConfig(folder);
  if (!existsSync(folder.database))
    throw new FarfieldError('E_NOT_FOUND', `there is no ${folder.database}; restore it first`);
  const generation = await renewGeneration(folder, context.random, Math.floor(context.clock.now() / 1000));
  if (json) return writeJson(context.stdout, { generation });
  writeLine(
    context.stdout,
    `generation ${generation}: readers of events start over, and what the backup lacks is sent again`,
  );
}

async function status(context: CliContext, options: StateOption, json: boolean): Promise<void> {
  const found = await askStatus(folderOf(context, options), context.signal);
  if (json) return writeJson(context.stdout, found);
  const line = (text: string): void => writeLine(context.stdout, text);
  line(
    `broker ${found.brokerId} at ${found.url}, ${found.grpc} (process ${found.pid}, ${Math.round(found.rssBytes / 1e6)} MB)`,
  );
  line(`${found.tickets} tickets, ${found.openItems} open items, ${found.users} users`);
  for (const { id, online, sinceMs, transport } of found.endpoints) {
    line(
      `endpoint ${id} ${online ? `connected (${transport})` : 'not connected'} since ${new Date(sinceMs).toISOString()}`,
    );
  }
  for (const alarm of found.alarms)
    line(`ALARM ${new Date(alarm.at * 1000).toISOString()} ${alarm.kind}: ${plainLine(alarm.text)}`);
}

async function invite(
  context: CliContext,
  options: StateOption & { endpoint?: string; user?: string },
  json: boolean,
): Promise<void> {
  const { endpoint, user } = options;
  const id = endpoint ?? user;
  if (id === undefined || (endpoint !== undefined && user !== undefined))
    throw usage('say whom to invite: --endpoint ID or --user KID');
  if (!THUMBPRINT.test(id)) throw usage(`"${id}" is no id: 43 letters, digits, - and _`);
  const body: InviteBody = { kind: endpoint === undefined ? 'user' : 'endpoint', id };
  const { token } = (await callControl(folderOf(context, options).control, 'invite', body, context.signal)) as {
    token: string;
  };
  if (json) writeJson(context.stdout, { token, for: body });
  else writeLine(context.stdout, token);
}
