/**
 * `farfield endpoint support-bundle`: what somebody else needs to help, in one file that may leave the site.
 *
 * Invariants
 *  B1 Every text passes `redact`; folders of keys, arguments, results and models are not opened, nor the ledger's rows.
 *  B2 What will be written is listed first, with sizes; --list ends there.
 *  B3 A part that cannot be read is a line that says so: a bundle is asked for when things are broken.
 */
import { readFile } from 'node:fs/promises';
import { arch, release, totalmem, version } from 'node:os';
import { resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { buildText, readBuild } from '#base/build.ts';
import { type CliContext, writeLine } from '#base/cli.ts';
import { writeDurable } from '#base/files.ts';
import { loadYaml } from '#base/yaml.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { readAgentConfig } from '../config.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { readNotedBuild } from '../running.ts';
import { askStatus, chooseFolder, type FolderOptions } from './common.ts';
import { diagnose } from './doctor.ts';
import { readLedger } from './ledger-file.ts';
import { logFiles } from './logs.ts';
import { redact, redactConfig } from './redact.ts';
import { isJson, nowS, show, sizeOf, withFolder } from './show.ts';
import { siteScheduler, VERSION_OF } from './site.ts';

const AGENT_LOG_BYTES = 1024 * 1024;
const BLOCK_LOG_BYTES = 64 * 1024;
const MAX_BLOCKS = 20;

export function registerSupportBundle(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('support-bundle')
      .description('collect configuration, status, findings and logs, without secrets, in one file'),
  )
    .option('--out <file>', 'the archive, a new file ending in .tar.gz')
    .option('--list', 'only list what would be in it')
    .option('--no-network', 'do not ask the broker')
    .action(async (options: FolderOptions & { out?: string; list?: boolean; network: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      const at = new Date(context.clock.now()).toISOString().replace(/[-:]|\.\d+/g, '');
      const out = resolve(context.cwd, options.out ?? `farfield-support-${at}.tar.gz`);
      if (!out.endsWith('.tar.gz')) throw new FarfieldError('E_USAGE', `--out ${out} must end in .tar.gz`);
      const files = await collect(context, folder, options.network);
      const facts = [...files].map(([name, text]) => ({ name, bytes: Buffer.byteLength(text) }));
      if (!isJson(command))
        for (const { name, bytes } of facts) writeLine(context.stderr, `${sizeOf(bytes).padStart(9)}  ${name}`);
      if (options.list === true) return show(context, command, { files: facts }, []);
      const { tarOf } = await import('./tar.ts');
      await writeDurable(out, gzipSync(tarOf(files, nowS(context))), 0o600);
      show(context, command, { out, files: facts }, [
        `${out}: ${facts.length} files; keys, tokens, arguments and results are not in it. Look through it before you send it`,
      ]);
    });
}

/** Name in the archive -> text, cleaned. */
export async function collect(
  context: CliContext,
  folder: AgentFolder,
  network: boolean,
): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const add = async (name: string, make: () => unknown): Promise<void> => {
    let text: string;
    try {
      const value = await make();
      text = typeof value === 'string' ? value : `${JSON.stringify(value, undefined, 2)}\n`;
    } catch (reason) {
      text = `could not be collected: ${FarfieldError.from(reason).message}\n`;
    }
    files.set(name, redact(text));
  };
  await add('versions.json', () => versions(context, folder));
  await add('config.yaml', async () =>
    stringify(redactConfig(loadYaml(await readFile(folder.config, 'utf8'), folder.config).value)),
  );
  await add('policy.yaml', () => readFile(folder.policy, 'utf8'));
  await add('status.json', async () => (await askStatus(folder, context.signal)) ?? { state: 'stopped' });
  await add('ledger.json', () => readLedger(folder) ?? {});
  await add('doctor.json', () => diagnose(context, folder, { network }));
  await add('scheduler.json', () => schedulerFacts(context, folder));
  await add('logs/audit.log', () => tail(folder.audit, AGENT_LOG_BYTES));
  for (const [source, path] of [...logFiles(folder)].slice(0, MAX_BLOCKS + 1)) {
    const name = source === 'agent' ? 'logs/agent.log' : `logs/${source.replace(/[^A-Za-z0-9_-]+/g, '-')}.log`;
    await add(name, () => tail(path, source === 'agent' ? AGENT_LOG_BYTES : BLOCK_LOG_BYTES));
  }
  return files;
}

function versions(context: CliContext, folder: AgentFolder): object {
  const noted = readNotedBuild(folder);
  return {
    farfield: buildText(readBuild()),
    agent: noted === undefined ? undefined : buildText(noted),
    node: process.version,
    system: `${version()} ${release()} ${arch()}`,
    memory: sizeOf(totalmem()),
    glibc: (process.report.getReport() as { header?: { glibcVersionRuntime?: string } }).header?.glibcVersionRuntime,
    at: new Date(context.clock.now()).toISOString(),
  };
}

async function schedulerFacts(context: CliContext, folder: AgentFolder): Promise<object> {
  const config = readAgentConfig(folder.config);
  const site = siteScheduler(context, config, folder.root);
  if (site === undefined) return { scheduler: 'local' };
  const answer = await site.run({ argv: VERSION_OF[site.name] });
  const { PATH } = site.env;
  return { scheduler: site.name, path: PATH, environment: Object.keys(site.env), version: answer };
}

async function tail(path: string, bytes: number): Promise<string> {
  const text = (await readFile(path)).subarray(-bytes).toString();
  // The first line is half of one where the file is longer.
  return text.length < bytes ? text : text.slice(text.indexOf('\n') + 1);
}
