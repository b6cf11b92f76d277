/**
 * The crash run: `scripts/node.sh test/crash/main.ts [--kills 50] [--seed S] [--target NAME]...`
 *
 * Prints each kill, the account, and as its last line one JSON object. Ends with 1 if a promise did not hold.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { describeAccount, held } from './checker.ts';
import { runKills, TARGETS } from './kill.ts';

const { values } = parseArgs({
  options: { kills: { type: 'string' }, seed: { type: 'string' }, target: { type: 'string', multiple: true } },
});
const kills = Number(values.kills ?? 50);
const seed = Number(values.seed ?? randomInt(2 ** 31));
const targets = TARGETS.filter((target) => values.target === undefined || values.target.includes(target));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

say(`SIGKILL of ${targets.join(', ')}, ${kills} of each, seed ${seed}`);
const report = await runKills({ kills, seed, targets, say });
say(describeAccount(report.account));
for (const finding of report.account.findings) say(`  ${finding}`);
say(`${report.ratePerS} acknowledged a second, all restarts included`);
// The rule of three: what no failure in n kills excludes with 95 % confidence.
say(
  `without a failure in ${kills} kills, the chance that one kill breaks the promise is below ${(300 / kills).toFixed(1)} %`,
);
say(JSON.stringify({ test: 'crash', seed, ok: held(report.account), ...report }));
process.exitCode = held(report.account) ? 0 : 1;
