/**
 * `farfield endpoint upgrade --check [TREE]`: what would happen if this endpoint were run by another Farfield. Changes nothing.
 *
 * An upgrade is: unpack beside the old tree, `stop --keep-blocks`, start from the new one. What decides is the ledger: a newer
 * Farfield brings an older ledger up to its schema, and an older Farfield refuses a newer ledger.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { type Build, buildText, parseBuild, readBuild } from '#base/build.ts';
import { type CliContext, writeJson, writeLine } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { schema } from '../admission/ledger-module.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { readNotedBuild } from '../running.ts';
import { askStatus, chooseFolder, type FolderOptions } from './common.ts';

export interface UpgradeFacts {
  /** Of the agent that runs or ran last, if it is known. */
  readonly now: Build | undefined;
  readonly running: boolean;
  /** Schema of the ledger on disk; undefined: there is none yet. */
  readonly ledger: number | undefined;
  readonly next: { readonly build: Build; readonly ledger: number };
}

export type UpgradeVerdict = 'same' | 'either way' | 'one way' | 'refused';

/** What would happen, for people; the first line is the answer. */
export function judgeUpgrade({ now, running, ledger, next }: UpgradeFacts): {
  verdict: UpgradeVerdict;
  lines: string[];
} {
  const from = now === undefined ? 'an unknown version' : buildText(now);
  const to = buildText(next.build);
  if (ledger !== undefined && ledger > next.ledger) {
    return {
      verdict: 'refused',
      lines: [
        `${to} cannot run this endpoint: its ledger has schema ${ledger}, and that version knows ${next.ledger} at most`,
        'take a newer version, or a backup of the folder from before the upgrade (then: farfield endpoint restored)',
      ],
    };
  }
  const steps = [
    ...(running ? ['farfield endpoint stop --keep-blocks   # blocks go on, and are taken over'] : []),
    'farfield endpoint start --detach       # of the new tree, or by its unit',
  ];
  if (now !== undefined && now.commit !== undefined && from === to)
    return { verdict: 'same', lines: [`${to} is what ${running ? 'runs' : 'ran last'}; nothing would change`] };
  if (ledger === undefined || ledger === next.ledger) {
    return {
      verdict: 'either way',
      lines: [
        `from ${from} to ${to}: the ledger stays as it is, and the old version can come back at any time`,
        'pilots of running blocks stay those of the old version until their blocks end',
        ...steps,
      ],
    };
  }
  return {
    verdict: 'one way',
    lines: [
      `from ${from} to ${to}: the ledger goes from schema ${ledger} to ${next.ledger} at the first start; the old version cannot read it then`,
      'pilots of running blocks stay those of the old version until their blocks end',
      ...steps.slice(0, -1),
      'cp -a FOLDER FOLDER.before             # the way back',
      ...steps.slice(-1),
    ],
  };
}

/** The number of the schema on disk, whether an agent runs or not. */
function ledgerSchema(folder: AgentFolder): number | undefined {
  if (!existsSync(folder.ledger)) return undefined;
  const db = new DatabaseSync(folder.ledger, { readOnly: true });
  try {
    return Number(db.prepare('pragma user_version').get()?.user_version ?? 0);
  } finally {
    db.close();
  }
}

/** A package tree: whole, and able to start here. */
async function readTree(tree: string): Promise<UpgradeFacts['next']> {
  const described = join(tree, 'dist', 'build.json');
  if (!existsSync(described))
    throw new FarfieldError(
      'E_NOT_FOUND',
      `${tree} is no tree of a Farfield package: there is no dist/build.json in it`,
    );
  const build = parseBuild(readFileSync(described, 'utf8'));
  if (build.schema === undefined) throw new FarfieldError('E_INPUT', `${described} does not say which schema it has`);
  await assertWhole(tree);
  const started = spawnSync(join(tree, 'lib', 'node'), ['--version'], { encoding: 'utf8', env: {} });
  if (started.status !== 0) {
    const why = plainLine((started.error?.message ?? started.stderr).trim());
    throw new FarfieldError('E_CONFLICT', `the Node of ${tree} does not run on this machine: ${why}`);
  }
  return { build, ledger: build.schema.ledger };
}

/** Against MANIFEST.sha256: a copy that broke off would fail later, and worse. */
async function assertWhole(tree: string): Promise<void> {
  const wrong: string[] = [];
  for (const line of readFileSync(join(tree, 'MANIFEST.sha256'), 'utf8').trim().split('\n')) {
    const [digest, path] = [line.slice(0, 64), line.slice(66)];
    const hash = createHash('sha256');
    const read = await pipeline(createReadStream(join(tree, path)), hash).then(
      () => hash.digest('hex'),
      () => 'unreadable',
    );
    if (read !== digest) wrong.push(path);
  }
  if (wrong.length === 0) return;
  throw new FarfieldError(
    'E_DIGEST',
    `${wrong.length} files of ${tree} are not what its manifest says (${wrong.slice(0, 3).join(', ')}); unpack it again`,
  );
}

/** Registers `upgrade` below `endpoint`. */
export function registerUpgrade(endpoint: Command, context: CliContext): void {
  endpoint
    .command('upgrade')
    .description('say what would happen if another Farfield ran this endpoint; changes nothing')
    .requiredOption('--check', 'only look')
    .option('--state <folder>', "the endpoint's folder")
    .option('--name <name>', 'its name, where it lies in the usual place')
    .argument('[tree]', 'an unpacked package (default: the Farfield that this command is of)')
    .action(async (tree: string | undefined, options: FolderOptions, command: Command) => {
      const folder = chooseFolder(context, options);
      const next =
        tree === undefined ? { build: readBuild(), ledger: schema.length } : await readTree(resolve(context.cwd, tree));
      const running = (await askStatus(folder)) !== undefined;
      const facts = { now: readNotedBuild(folder), running, ledger: ledgerSchema(folder), next };
      const { verdict, lines } = judgeUpgrade(facts);
      if (verdict === 'refused') throw new FarfieldError('E_CONFLICT', lines.join('; '));
      if (command.optsWithGlobals().json === true) {
        const { now, ledger } = facts;
        writeJson(context.stdout, {
          verdict,
          running,
          from: now,
          to: next.build,
          ledger,
          newLedger: next.ledger,
          lines,
        });
      } else for (const line of lines) writeLine(context.stdout, line);
    });
}
