/**
 * `npm test`: formatter and linter, type checker, then every test; ends with `N passed, N failed[, N skipped]`.
 *
 * Skipped tests are listed with their reason before that line: a skip without a reason counts as a failure, so that
 * nothing is left out in silence. Arguments name test files, for which the checks are left out;
 * `--checks` runs only those.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';

const root = new URL('..', import.meta.url).pathname;
const bin = (name: string): string => `${root}node_modules/.bin/${name}`;

interface Skip {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

interface Tally {
  passed: number;
  failed: number;
  readonly skips: Skip[];
}

function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
}

/** tap's own plugins are compiled once after an install; the default ones would compile TypeScript instead of stripping it. */
async function prepareTap(): Promise<void> {
  if (existsSync(`${root}.tap/plugins`) && existsSync(`${root}node_modules/.farfield-tap`)) return;
  const code = await run(bin('tap'), ['build']);
  if (code !== 0) throw new Error('tap build failed');
  await run('touch', [`${root}node_modules/.farfield-tap`]);
}

/** Counts the tests of depth one (a file's sentences); deeper assertions are shown only when they fail. */
function countLine(line: string, tally: Tally, file: string): string {
  const top = /^(ok|not ok) \d+ - (\S+\.test\.ts)/.exec(line);
  if (top?.[2] !== undefined) return top[2];
  const test = /^ {4}(ok|not ok) \d+(?: - (.*))?$/.exec(line);
  if (test === null) return file;
  const text = test[2] ?? '';
  const skip = /^(.*?) # SKIP ?(.*)$/.exec(text);
  if (skip !== null) {
    tally.skips.push({ file, name: (skip[1] ?? '').replace(/ # time=.*$/, ''), reason: skip[2] ?? '' });
    return file;
  }
  if (test[1] === 'ok') tally.passed += 1;
  else {
    tally.failed += 1;
    process.stdout.write(`FAILED: ${text}\n`);
  }
  return file;
}

async function runTests(files: readonly string[]): Promise<{ tally: Tally; code: number }> {
  const tally: Tally = { passed: 0, failed: 0, skips: [] };
  const child = spawn(bin('tap'), ['--reporter=tap', ...files], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
  let file = '';
  let failing = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const started = /^# Subtest: (\S+\.test\.ts)/.exec(line);
    if (started?.[1] !== undefined) {
      file = started[1];
      process.stdout.write(`${file}\n`);
    }
    file = countLine(line, tally, file);
    // Details of a failure: its diagnostic block, at whatever depth.
    if (/^ *not ok /.test(line)) failing = true;
    if (failing) process.stdout.write(`${line}\n`);
    if (/^ *\.\.\.$/.test(line)) failing = false;
  }
  return { tally, code: await exit };
}

async function main(args: readonly string[]): Promise<void> {
  const files = args.filter((arg) => !arg.startsWith('--'));
  let failedChecks = 0;
  if (files.length === 0) {
    for (const [name, checkArgs] of [
      ['biome', ['check', '.']],
      ['tsc', []],
    ] as const) {
      process.stdout.write(`${name}\n`);
      if ((await run(bin(name), checkArgs)) !== 0) failedChecks += 1;
    }
  }
  if (args.includes('--checks')) {
    process.exitCode = failedChecks > 0 ? 1 : 0;
    return;
  }
  await prepareTap();
  const { tally, code } = await runTests(files);
  for (const { file, name, reason } of tally.skips) {
    process.stdout.write(`skipped: ${file}: ${name}: ${reason === '' ? 'NO REASON GIVEN' : reason}\n`);
  }
  const unexplained = tally.skips.filter(({ reason }) => reason === '').length;
  // tap also fails a file that exits badly, leaks or never ends, although each of its sentences passed.
  const broken = code !== 0 && tally.failed === 0 ? 1 : 0;
  const failed = tally.failed + failedChecks + unexplained + broken;
  const skipped = tally.skips.length > 0 ? `, ${tally.skips.length} skipped` : '';
  process.stdout.write(`\n${tally.passed} passed, ${failed} failed${skipped}\n`);
  process.exitCode = failed > 0 ? 1 : 0;
}

await main(process.argv.slice(2));
