/**
 * `farfield endpoint render`: the exact files and command of a block, with nothing submitted.
 *
 * The files come from the driver that the agent uses, so what is shown is what would run. A block's token is in a file of its
 * own (0600) that is made at submission, and never in a script: there is no secret to show.
 */
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { type CliContext, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { type ResolvedAgentConfig, readAgentConfig } from '../config.ts';
import { readIdentity } from '../identity/identity.ts';
import type { SchedulerCommand } from '../schedulers/driver.ts';
import { jobSpec } from '../schedulers/jobs.ts';
import type { BlockShape } from '../schedulers/scheduler.ts';
import { shellWord, shellWords } from '../schedulers/text.ts';
import { chooseFolder, type FolderOptions } from './common.ts';
import { isJson, nowS, show, withFolder } from './show.ts';
import { jobSetting, siteScheduler } from './site.ts';

export interface ShapeOptions extends FolderOptions {
  readonly account?: string;
  readonly queue?: string;
  readonly nodes?: number;
  readonly walltime?: number;
}

/** 90s, 30m, 4h, 2d, or seconds. */
export function parseSpan(text: string): number {
  const match = /^(\d{1,7})(s|m|h|d)?$/.exec(text);
  const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[(match?.[2] ?? 's') as 's' | 'm' | 'h' | 'd'];
  if (match === null || Number(match[1]) === 0) throw new InvalidArgumentError('write 90s, 30m, 4h or 2d');
  return Number(match[1]) * unit;
}

function parseNodes(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('write a whole number of at least 1');
  return Number(text);
}

/** What a block may ask for beside what the site configured. */
export function withShape(command: Command): Command {
  return command
    .option('--account <name>', 'another account than the configured one')
    .option('--queue <name>', 'another partition or queue')
    .option('--nodes <n>', 'another number of nodes', parseNodes)
    .option('--walltime <span>', 'another walltime: 90s, 30m, 4h', parseSpan);
}

export function shapeOf(config: ResolvedAgentConfig, options: ShapeOptions): BlockShape {
  return {
    ...config.blocks.shape,
    ...(options.nodes === undefined ? {} : { nodes: options.nodes }),
    ...(options.walltime === undefined ? {} : { wallS: options.walltime }),
    ...(options.account === undefined ? {} : { account: options.account }),
    ...(options.queue === undefined ? {} : { queue: options.queue }),
  };
}

/** A command as a shell would be given it, to be copied. */
export function commandLine({ argv, env }: SchedulerCommand, stdin: string | undefined): string {
  const set = Object.entries(env ?? {}).map(([key, value]) => `${key}=${shellWord(value)}`);
  return [...set, shellWords(argv), ...(stdin === undefined ? [] : [`< ${shellWord(stdin)}`])].join(' ');
}

const EXAMPLE = 'EXAMPLE';

export function registerRender(endpoint: Command, context: CliContext): void {
  withShape(
    withFolder(
      endpoint
        .command('render')
        .description('show the job script and the submit command of a block; nothing is submitted'),
    ),
  )
    .option('--user <name...>', 'whom the block would serve, for the comment of the job')
    .action(async (options: ShapeOptions & { user?: string[] }, command: Command) => {
      const folder = chooseFolder(context, options);
      const config = readAgentConfig(folder.config);
      const { endpoint: id } = readIdentity(folder, nowS(context));
      const setting = jobSetting(context, folder, config, id);
      const place = join(folder.blocks, EXAMPLE);
      const site = siteScheduler(context, config, folder.root);
      if (site === undefined) {
        const argv = [...setting.pilot, place];
        show(context, command, { scheduler: 'local', argv }, [
          '# scheduler local: no script; this process is started on this machine, detached',
          shellWords(argv),
        ]);
        return;
      }
      const shape = shapeOf(config, options);
      const spec = jobSpec({ block: EXAMPLE, folder: place, shape, users: options.user ?? [] }, setting);
      const { files } = site.driver.render(spec);
      const submit = site.driver.submit(files[0], join(place, files[0].name), spec);
      const stdin = submit.stdin === undefined ? undefined : join(place, files[0].name);
      const facts = { scheduler: site.name, name: spec.name, argv: submit.argv, env: submit.env ?? {}, stdin, files };
      if (isJson(command)) {
        show(context, command, facts, []);
        return;
      }
      for (const { name, text } of files) {
        writeLine(context.stdout, `# --- ${join(place, name)}`);
        context.stdout.write(plain(text));
      }
      writeLine(context.stdout, `# --- submitted with PATH=${site.env.PATH ?? ''} by`);
      writeLine(context.stdout, plain(commandLine(submit, stdin)));
    });
}
