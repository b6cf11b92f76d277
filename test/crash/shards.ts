/**
 * `scripts/node.sh test/crash/shards.ts [--shards 200] [--kills 20] [--seed S]`: runners killed during a job array. Its last line is
 * one JSON object; ends with 1 where the merged result is not the undisturbed one.
 */
import { parseArgs } from 'node:util';
import { runShardKills } from './shard-kills.ts';

const { values } = parseArgs({
  options: { shards: { type: 'string' }, kills: { type: 'string' }, seed: { type: 'string' } },
});
const shards = Number(values.shards ?? 200);
const report = await runShardKills({
  shards,
  kills: Number(values.kills ?? 20),
  rows: shards * 70,
  lanes: 2,
  seed: values.seed ?? 'shards',
  say: (line) => void process.stdout.write(`${line}\n`),
});
process.stdout.write(`${JSON.stringify({ test: 'shards', ...report })}\n`);
process.exitCode = report.identical && report.leftOver.length === 0 ? 0 : 1;
