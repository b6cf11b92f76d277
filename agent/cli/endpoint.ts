/** `farfield endpoint`: make, enrol, run and watch an endpoint. */
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, readToken, usage, writeLine } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { CONFIG_TEMPLATE, policyTemplate, readAgentConfig } from '../config.ts';
import { joinBroker } from '../identity/enrol.ts';
import { agentFolder, shareFolder } from '../identity/folder.ts';
import { readIdentity } from '../identity/identity.ts';
import { createEndpoint, renewEndpoint } from '../identity/root.ts';
import { readEnd } from '../last-end.ts';
import { siteEgress } from '../network.ts';
import { forgetStopped, noteStopped } from '../running.ts';
import { checkStateFolder, stateAdvice } from '../state-folder.ts';
import { registerAccess } from './access.ts';
import {
  askRunning,
  askStatus,
  chooseFolder,
  endpointsFolder,
  type FolderOptions,
  fileName,
  parseUntil,
  rootsFolder,
} from './common.ts';
import { registerOperating } from './operate.ts';
import { ensureAgent, startAgent, stopAgent } from './process.ts';
import { renewLedgerEpoch } from './restored.ts';
import { dateOf, nowS, show, withFolder } from './show.ts';
import { beside, describeBeside, describeEnd, describeStatus } from './status.ts';
import { trustKey } from './trust.ts';
import { registerUpgrade } from './upgrade.ts';
import { registerUsage } from './usage.ts';

export const register: RegisterVerb = (program, context) => {
  const endpoint = program.command('endpoint').description('deploy and run an endpoint (site admins)');
  registerInit(endpoint, context);
  registerJoin(endpoint, context);
  registerTrust(endpoint, context);
  registerRenew(endpoint, context);
  registerProcess(endpoint, context);
  registerRestored(endpoint, context);
  registerUpgrade(endpoint, context);
  registerOperating(endpoint, context);
  registerAccess(endpoint, context);
  registerUsage(endpoint, context);
};

function registerInit(endpoint: Command, context: CliContext): void {
  endpoint
    .command('init')
    .description(
      'make an endpoint here: a root key (kept apart), an online key, a descriptor, a policy that allows nothing',
    )
    .requiredOption('--name <name>', 'what people call it; the id is the key')
    .option('--state <folder>', "the endpoint's folder (default: endpoints/NAME in your Farfield folder)")
    .option('--roots <folder>', 'where the root key is kept (default: roots in your Farfield folder)')
    .option(
      '--shared <folder>',
      'what nodes must see (blocks, arguments, results, images), where --state is a disk of this host',
    )
    .action(async (options: { name: string; state?: string; roots?: string; shared?: string }, command: Command) => {
      const place =
        options.state === undefined
          ? join(endpointsFolder(context), fileName(options.name))
          : resolve(context.cwd, options.state);
      if (options.shared !== undefined) shareFolder(place, resolve(context.cwd, options.shared));
      const folder = agentFolder(place);
      const made = await createEndpoint({
        name: options.name,
        folder,
        roots: rootsFolder(context, options.roots),
        nowS: nowS(context),
      });
      if (!existsSync(folder.policy)) writeFileSync(folder.policy, policyTemplate(made.endpoint), { mode: 0o600 });
      if (!existsSync(folder.config)) writeFileSync(folder.config, CONFIG_TEMPLATE, { mode: 0o600 });
      const advice = stateAdvice(folder.root);
      if (advice !== undefined) writeLine(context.stderr, `note: ${advice}`);
      const facts = {
        endpoint: made.endpoint,
        name: made.name,
        state: folder.root,
        root: made.rootFile,
        policy: folder.policy,
        until: made.expS,
      };
      show(context, command, facts, [
        made.endpoint,
        `its root key is ${made.rootFile}: move it to a safe place; it is needed again before ${dateOf(made.expS)} (\`farfield endpoint renew\`)`,
        `its folder is ${folder.root}; its policy allows nothing yet (${folder.policy})`,
      ]);
    });
}

function registerJoin(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('join')
      .description('enrol at a broker with a one-use token of `farfield broker invite --endpoint ID`'),
  )
    .argument('<token>', 'ff1...., or - to read it from stdin')
    .action(async (token: string, options: FolderOptions, command: Command) => {
      const folder = chooseFolder(context, options);
      const identity = readIdentity(folder, nowS(context));
      const broker = await joinBroker(
        folder,
        identity,
        await readToken(context, token),
        nowS(context),
        siteEgress(readAgentConfig(folder.config).network, context.env),
      );
      show(context, command, { endpoint: identity.endpoint, broker: broker.url, brokerId: broker.brokerId }, [
        `${identity.name} (${identity.endpoint}) joined the broker at ${broker.url}`,
      ]);
    });
}

function registerTrust(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('trust')
      .description("pin a person's long-term key in the policy; a rule must still say what it may run"),
  )
    .argument('<kid>', "the key's id, as `farfield keys show` prints it")
    .requiredOption('--sub <name>', 'the name that rules use: who: { pin: NAME }')
    .requiredOption('--until <time>', 'a date, a time with its zone, or a duration such as 12h or 30d')
    .action(async (kid: string, options: FolderOptions & { sub: string; until: string }, command: Command) => {
      const folder = chooseFolder(context, options);
      const { endpoint: id } = readIdentity(folder, nowS(context));
      const untilS = parseUntil(options.until, context.clock.now());
      if (untilS <= nowS(context)) throw usage(`--until ${options.until} is over already`);
      const { renewed } = await trustKey(folder.policy, id, { kid, name: options.sub, untilS });
      const running = (await askRunning(folder, 'reload')) !== undefined;
      show(context, command, { kid, name: options.sub, until: untilS, renewed, running }, [
        `${renewed ? 'renewed' : 'trusted'} ${kid} as ${options.sub} until ${dateOf(untilS)}${running ? '; the running agent has it' : ''}`,
      ]);
    });
}

function registerRenew(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('renew')
      .description('sign the next descriptor with the root key: another 30 days for the online key'),
  )
    .option('--roots <folder>', 'where the root key is')
    .option('--rotate', 'make a new online key: the old one may have been read')
    .action(async (options: FolderOptions & { roots?: string; rotate?: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      const renewed = await renewEndpoint({
        folder,
        roots: rootsFolder(context, options.roots),
        nowS: nowS(context),
        rotate: options.rotate === true,
      });
      const running = (await askRunning(folder, 'reload')) !== undefined;
      show(context, command, { endpoint: renewed.endpoint, seq: renewed.seq, until: renewed.expS, running }, [
        `descriptor ${renewed.seq} of ${renewed.name} holds until ${dateOf(renewed.expS)}${running ? '; the running agent has it' : ''}`,
      ]);
    });
}

function registerProcess(endpoint: Command, context: CliContext): void {
  withFolder(endpoint.command('start').description('run the agent'))
    .option('--detach', 'in the background; returns when it answers')
    .option('--ensure', 'for cron: nothing if it runs, or if `endpoint stop` ended it; else as --detach, and quiet')
    .action(async (options: FolderOptions & { detach?: boolean; ensure?: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      if (options.ensure === true) return ensureAgent(context, folder);
      // Said here, in this terminal, and not in a log: what would stop it at once.
      const identity = readIdentity(folder, nowS(context));
      checkStateFolder(folder.root, readAgentConfig(folder.config).state, { warn: () => undefined });
      forgetStopped(folder);
      const status = await startAgent(context, folder, options.detach === true);
      if (status === undefined) return;
      show(context, command, status, [
        `${identity.name} (${identity.endpoint}) runs as process ${status.pid}; its log is ${folder.log}`,
        ...(status.link.state === 'live'
          ? []
          : ['not connected to its broker yet; `farfield endpoint status` says why']),
      ]);
    });
  withFolder(endpoint.command('stop').description('end the agent, its pilots and what they run'))
    .option('--keep-blocks', 'leave the pilots: the next agent takes them over')
    .action(async (options: FolderOptions & { keepBlocks?: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      noteStopped(folder);
      const stopped = await stopAgent(context, folder, options.keepBlocks !== true);
      show(context, command, { stopped }, [stopped ? 'stopped' : 'it was not running']);
    });
  withFolder(endpoint.command('status').description('what it is, whether it runs, and what it does')).action(
    async (options: FolderOptions, command: Command) => {
      const folder = chooseFolder(context, options);
      const status = await askStatus(folder);
      if (status !== undefined) {
        const more = beside(folder, status);
        const lines = [...describeStatus(status, context.clock.now()), ...describeBeside(more)];
        show(context, command, { ...status, ...more }, lines);
        return;
      }
      const identity = readIdentity(folder, nowS(context));
      const end = readEnd(folder);
      const why = end === undefined ? {} : { ended: { code: end.code, reason: end.reason, at: end.at } };
      show(
        context,
        command,
        { endpoint: identity.endpoint, name: identity.name, state: 'stopped', until: identity.expS, ...why },
        [
          `${plainLine(identity.name)}  ${identity.endpoint}`,
          `state    stopped; ${describeEnd(end)}`,
          `keys     online key until ${dateOf(identity.expS)}`,
        ],
      );
    },
  );
}

function registerRestored(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('restored')
      .description(
        'after the folder came from a backup: begin a new ledger epoch, so that nothing signed before runs again',
      ),
  ).action(async (options: FolderOptions, command: Command) => {
    const folder = chooseFolder(context, options);
    readIdentity(folder, nowS(context));
    const epoch = await renewLedgerEpoch(folder, nowS(context));
    show(context, command, { ledgerEpoch: epoch }, [
      `ledger epoch ${epoch.n}: tickets signed before ${dateOf(epoch.since)} are refused, and brokers tell their owners`,
    ]);
  });
}
