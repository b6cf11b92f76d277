import { randomInt } from 'node:crypto';
import t from 'tap';
import { describeAccount, held } from './checker.ts';
import { runKills } from './kill.ts';

/** Two worlds' worth of restarts on a busy machine; the shape of the run, not its speed, is what is tested. */
t.setTimeout(300_000);
const KILLS = 2;

t.test('nothing acknowledged is lost and nothing ends twice when processes are killed under load', async (t) => {
  const seed = randomInt(2 ** 31);
  t.comment(`seed ${seed}; the full run: scripts/node.sh test/crash/main.ts --kills 50 --seed ${seed}`);
  const { account, kills, ratePerS } = await runKills({ kills: KILLS, seed, say: (line) => t.comment(line) });
  t.comment(describeAccount(account));
  t.comment(`${ratePerS} acknowledged a second, restarts included`);
  t.strictSame(account.findings, []);
  t.ok(held(account));
  t.strictSame(kills, { client: KILLS, broker: KILLS, agent: KILLS, pilot: KILLS, runner: KILLS });
  t.ok(account.acked > 1000, 'the load was one');
});
