/**
 * `farfield endpoint drain`, `resume` and `restart`.
 *
 * A drain is written in the ledger: it outlives the agent, so that a machine that reboots for its maintenance does not begin new
 * work. Where no agent runs, the mark is set and removed in the file itself.
 */
import type { Command } from 'commander';
import { type CliContext, usage, writeLine } from '#base/cli.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { readAgentConfig } from '../config.ts';
import type { AgentStatus } from '../control.ts';
import { readIdentity } from '../identity/identity.ts';
import { forgetStopped } from '../running.ts';
import { checkStateFolder } from '../state-folder.ts';
import { askRunning, askStatus, chooseFolder, type FolderOptions } from './common.ts';
import { markDrain, readLedger } from './ledger-file.ts';
import { startAgent, stopAgent } from './process.ts';
import { parseSpan } from './render.ts';
import { isJson, nowS, show, spanOf, withFolder } from './show.ts';
import { describeStatus } from './status.ts';

const LOOK_MS = 500;
/** A line for whoever watches, not one for each look. */
const SAY_EVERY_MS = 10_000;

export function registerDrain(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('drain')
      .description('admit and start nothing new, keep what waits, let what runs end; a restart keeps it so'),
  )
    .option('--wait', 'return when nothing runs any more')
    .option('--timeout <span>', 'with --wait: give up after this long; the drain goes on', parseSpan)
    .option('--reason <text>', 'told to everybody who waits')
    .action(
      async (options: FolderOptions & { wait?: boolean; timeout?: number; reason?: string }, command: Command) => {
        const folder = chooseFolder(context, options);
        const reason = options.reason ?? 'its admin asked for it';
        const asked = (await askRunning(folder, 'drain', { reason })) as AgentStatus | undefined;
        if (asked === undefined) {
          readIdentity(folder, nowS(context));
          await markDrain(folder, JSON.stringify({ reason, since: nowS(context) }));
          show(context, command, { state: 'stopped', draining: true }, [
            'no agent runs; the next one drains from its start, until `farfield endpoint resume`',
          ]);
          return;
        }
        const status =
          options.wait === true ? await untilQuiet(context, folder, asked, options.timeout, !isJson(command)) : asked;
        show(context, command, status, [
          status.work.leased === 0 ? 'drained: nothing runs' : `draining: ${status.work.leased} items still run`,
          ...(status.work.waiting === 0
            ? []
            : [`${status.work.waiting} items wait and are kept; \`farfield endpoint resume\` lets them go on`]),
        ]);
      },
    );
}

async function untilQuiet(
  context: CliContext,
  folder: ReturnType<typeof chooseFolder>,
  first: AgentStatus,
  timeoutS: number | undefined,
  talk: boolean,
): Promise<AgentStatus> {
  const { clock, signal, stderr } = context;
  const began = clock.mono();
  let saidAt = Number.NEGATIVE_INFINITY;
  let status = first;
  while (status.work.leased > 0) {
    if (timeoutS !== undefined && clock.mono() - began > timeoutS * 1000)
      throw new FarfieldError(
        'E_TIMEOUT',
        `${status.work.leased} items still run after ${spanOf(timeoutS)}; the drain goes on`,
      );
    if (talk && clock.mono() - saidAt >= SAY_EVERY_MS) {
      saidAt = clock.mono();
      writeLine(stderr, `${status.work.leased} items still run`);
    }
    await clock.sleep(LOOK_MS, signal);
    const next = await askStatus(folder, signal);
    if (next === undefined)
      throw new FarfieldError('E_UNAVAILABLE', 'the agent ended meanwhile; the drain holds when it starts again');
    if (next.state !== 'draining') throw new FarfieldError('E_CONFLICT', 'somebody resumed the endpoint meanwhile');
    status = next;
  }
  return status;
}

export function registerResume(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint.command('resume').description('go on after a drain or a pause: failed starts, or a clock that jumped'),
  ).action(async (options: FolderOptions, command: Command) => {
    const folder = chooseFolder(context, options);
    const status = (await askRunning(folder, 'resume')) as AgentStatus | undefined;
    if (status !== undefined) {
      show(context, command, status, describeStatus(status, context.clock.now()));
      return;
    }
    if (readLedger(folder)?.draining !== true)
      throw usage('no agent runs for this endpoint, and it does not drain; there is nothing to resume');
    await markDrain(folder, '');
    show(context, command, { state: 'stopped', draining: false }, [
      'it drains no more; start it with `farfield endpoint start --detach`',
    ]);
  });
}

export function registerRestart(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint.command('restart').description('end the agent and start it again; blocks and what they run go on'),
  ).action(async (options: FolderOptions, command: Command) => {
    const folder = chooseFolder(context, options);
    // What would keep the next one from starting is said while the old one still runs.
    const identity = readIdentity(folder, nowS(context));
    checkStateFolder(folder.root, readAgentConfig(folder.config).state, { warn: () => undefined });
    const was = await stopAgent(context, folder, false);
    forgetStopped(folder);
    const status = await startAgent(context, folder, true);
    show(context, command, { ...status, restarted: was }, [
      `${identity.name} ${was ? 'runs again' : 'was stopped; it runs'} as process ${status?.pid ?? 0}, with ${status?.blocks.length ?? 0} blocks`,
    ]);
  });
}
