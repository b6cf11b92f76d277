/**
 * `npm test`: formatter and linter, type checker, then every test; ends with `N passed, N failed[, N skipped]`, where each
 * check counts as one.
 *
 * Arguments name test files, for which the checks are left out; `--checks` runs only the checks.
 */
import { spawn } from 'node:child_process';
import { existsSync, globSync, writeFileSync } from 'node:fs';
import { delimiter, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { closingLines, createTapTally, type TapTally } from './tap-tally.ts';

const root = resolve(import.meta.dirname, '..');
const bin = `${root}/node_modules/.bin`;
/** The tools are scripts that ask PATH for `node`; it must be this one. */
const env = { ...process.env, PATH: [bin, process.env.PATH ?? ''].join(delimiter) };

const CHECKS: readonly (readonly [string, ...string[]])[] = [['biome', 'check', '.'], ['tsc']];

function run(name: string, args: readonly string[]): Promise<number> {
  const child = spawn(`${bin}/${name}`, args, { cwd: root, env, stdio: 'inherit' });
  return exitOf(child);
}

function exitOf(child: ReturnType<typeof spawn>): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** The number of checks that failed. */
async function runChecks(): Promise<number> {
  let failed = 0;
  for (const [name, ...args] of CHECKS) {
    const ok = (await run(name, args)) === 0;
    process.stdout.write(`${ok ? 'ok    ' : 'not ok'} ${name}\n`);
    if (!ok) failed += 1;
  }
  return failed;
}

/**
 * tap's set of plugins is compiled once after an install, by us because no install script runs; with its default set tap
 * would compile TypeScript with a compiler that is not there, instead of letting Node strip types.
 */
async function prepareTap(): Promise<void> {
  const stamp = `${root}/node_modules/.farfield-tap`;
  if (existsSync(stamp) && existsSync(`${root}/.tap/plugins`)) return;
  if ((await run('tap', ['build'])) !== 0) throw new Error('`tap build` failed; it prints why above');
  writeFileSync(stamp, '');
}

async function runTests(files: readonly string[], tally: TapTally): Promise<number> {
  const child = spawn(`${bin}/tap`, ['--reporter=tap', ...files], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = exitOf(child);
  for await (const line of createInterface({ input: child.stdout })) {
    for (const shown of tally.feed(line)) process.stdout.write(`${shown}\n`);
  }
  return exit;
}

async function main(args: readonly string[]): Promise<number> {
  const named = args.filter((arg) => !arg.startsWith('--')).map((arg) => relative(root, resolve(arg)));
  const unknown = args.find((arg) => arg.startsWith('--') && arg !== '--checks');
  if (unknown !== undefined) {
    process.stderr.write(`${unknown} is unknown; npm test [-- FILE...], npm run check\n`);
    return 2;
  }
  let others = named.length === 0 ? await runChecks() : 0;
  if (args.includes('--checks')) return others > 0 ? 1 : 0;
  await prepareTap();
  const files = named.length > 0 ? named : globSync('test/**/*.test.ts', { cwd: root }).sort();
  const tally = createTapTally(files);
  const code = await runTests(files, tally);
  const account = tally.account();
  // Then tap itself has failed.
  if (code !== 0 && account.failed + account.missing.length === 0) others += 1;
  const { lines, failed } = closingLines(account, others);
  process.stdout.write(`${lines.join('\n')}\n`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
