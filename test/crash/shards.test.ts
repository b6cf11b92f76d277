import t from 'tap';
import { runShardKills } from './shard-kills.ts';

t.test('a job array whose runners are killed gives the bytes of an undisturbed one', async (t) => {
  t.setTimeout(280_000);
  const seed = 'shards test';
  t.comment(`seed: ${seed}`);
  const report = await runShardKills({
    shards: 20,
    kills: 4,
    rows: 1000,
    lanes: 2,
    seed,
    say: (line) => t.comment(line),
  });
  t.match(report, { identical: true, kills: 4, leftOver: [] }, JSON.stringify(report));
  t.ok(report.runs >= 20, 'every shard was done');
});
