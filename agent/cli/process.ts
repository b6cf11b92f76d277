/**
 * Starts and stops the agent's process.
 *
 * Invariants
 *  P1 A detached start returns only after the agent answered on its control socket, or with the end of its log if it died;
 *     and gives it LINK_LIMIT_MS to reach the broker, so that a call right after it is not told that the endpoint is offline.
 *  P2 The agent gets this environment as it is; whatever it starts gets nothing of it.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type CliContext, SERVER_FLAGS } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { pidAlive, startDetached } from '#base/process.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AgentStatus } from '../control.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { wasStopped } from '../running.ts';
import { askRunning, askStatus } from './common.ts';

/** An agent reads its ledger before it answers; a large one on a slow disk takes seconds. */
const START_LIMIT_MS = 30_000;
/** A broker that is away for longer is told in the status that is returned; the agent goes on trying. */
const LINK_LIMIT_MS = 5000;
/** Drain on stop, with pilots that need their grace to close runners. */
const STOP_LIMIT_MS = 60_000;
const LOOK_MS = 50;
/** A start that failed waits this long for another that succeeds. */
const RIVAL_LIMIT_MS = 20_000;
const LOG_TAIL_BYTES = 4096;

function agentProgram(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '../main.ts' : './agent.mjs', import.meta.url));
}

function environment(context: CliContext): Record<string, string> {
  return Object.fromEntries(
    Object.entries(context.env).filter((pair): pair is [string, string] => pair[1] !== undefined),
  );
}

/** The status of the detached agent; undefined after a foreground one has ended well. */
export async function startAgent(
  context: CliContext,
  folder: AgentFolder,
  detach: boolean,
): Promise<AgentStatus | undefined> {
  const running = await askStatus(folder);
  if (running !== undefined)
    throw new FarfieldError(
      'E_CONFLICT',
      `the agent of this endpoint runs already as process ${running.pid}; \`farfield endpoint stop\` ends it`,
    );
  const [node = process.execPath] = context.self;
  if (!detach) return foreground(context, node, folder);
  const handle = await startDetached({
    command: node,
    args: [...SERVER_FLAGS, agentProgram(), folder.root],
    env: environment(context),
    cwd: folder.root,
    logFile: folder.log,
    random: context.random,
    containment: 'none',
  });
  const end = context.clock.mono() + START_LIMIT_MS;
  while (context.clock.mono() < end) {
    const status = await askStatus(folder, context.signal);
    if (status !== undefined) return linked(context, folder, status);
    if (!pidAlive(handle)) throw new FarfieldError('E_UNAVAILABLE', `the agent ended at its start: ${logTail(folder)}`);
    await context.clock.sleep(LOOK_MS, context.signal);
  }
  throw new FarfieldError(
    'E_TIMEOUT',
    `the agent (process ${handle.pid}) does not answer after ${START_LIMIT_MS / 1000} s; its log is ${folder.log}`,
  );
}

/** P1: its status once it is connected, or as it is after the time for that. */
async function linked(context: CliContext, folder: AgentFolder, first: AgentStatus): Promise<AgentStatus> {
  const end = context.clock.mono() + LINK_LIMIT_MS;
  let status = first;
  while (!['live', 'stopped'].includes(status.link.state) && context.clock.mono() < end) {
    await context.clock.sleep(LOOK_MS, context.signal);
    status = (await askStatus(folder, context.signal)) ?? status;
  }
  return status;
}

/**
 * For a timer that knows nothing: starts what ought to run. Silent if all is well, for cron mails what is said. Two at once do no
 * harm: the folder has one holder.
 */
export async function ensureAgent(context: CliContext, folder: AgentFolder): Promise<void> {
  if (wasStopped(folder) || (await askStatus(folder)) !== undefined) return;
  try {
    await startAgent(context, folder, true);
  } catch (reason) {
    // Another start may have the folder, and not answer yet.
    const end = context.clock.mono() + RIVAL_LIMIT_MS;
    while ((await askStatus(folder, context.signal)) === undefined) {
      if (context.clock.mono() >= end) throw reason;
      await context.clock.sleep(LOOK_MS, context.signal);
    }
  }
}

async function foreground(context: CliContext, node: string, folder: AgentFolder): Promise<undefined> {
  const args = [...SERVER_FLAGS, agentProgram(), folder.root];
  // The agent takes this process's place: a supervisor's signals, its watchdog and its exit code are then the agent's own.
  process.execve?.(node, [node, ...args], environment(context));
  const child = spawn(node, args, { env: environment(context), stdio: 'inherit' });
  // A terminal sends Ctrl-C to both; a supervisor signals only this process.
  const pass = (): void => void child.kill('SIGTERM');
  context.signal.addEventListener('abort', pass, { once: true });
  const code = await new Promise<number | null>((done, failed) => {
    child.once('error', failed);
    child.once('exit', done);
  });
  context.signal.removeEventListener('abort', pass);
  if (code !== 0)
    throw new FarfieldError('E_UNAVAILABLE', `the agent ended with ${code === null ? 'a signal' : `code ${code}`}`);
  return undefined;
}

function logTail(folder: AgentFolder): string {
  try {
    const text = readFileSync(folder.log).subarray(-LOG_TAIL_BYTES).toString();
    const last = text.trim().split('\n').at(-1) ?? '';
    const parsed = JSON.parse(last) as { err?: { message?: string }; msg?: string };
    return plain(parsed.err?.message ?? parsed.msg ?? last);
  } catch {
    return `see ${folder.log}`;
  }
}

/** False if it was not running. Resolves when the process is gone. */
export async function stopAgent(context: CliContext, folder: AgentFolder, blocks: boolean): Promise<boolean> {
  if ((await askRunning(folder, 'stop', { blocks }, context.signal)) === undefined) return false;
  const end = context.clock.mono() + STOP_LIMIT_MS;
  while (context.clock.mono() < end) {
    if ((await askStatus(folder, context.signal)) === undefined) return true;
    await context.clock.sleep(LOOK_MS, context.signal);
  }
  throw new FarfieldError(
    'E_TIMEOUT',
    `the agent is still ending after ${STOP_LIMIT_MS / 1000} s; its log is ${folder.log}`,
  );
}
