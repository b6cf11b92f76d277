/** What a batch scheduler adds: a first call on idle real Slurm beside an empty job of its own, ten interleaved pairs. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { clusterRefusal, openCluster, REPO } from '../cluster/cluster.ts';
import { prepareImage } from '../cluster/endpoint.ts';
import { type Figures, median } from './figures.ts';

const PAIRS = 10;

export async function cluster(): Promise<Figures> {
  const refusal = clusterRefusal();
  if (refusal !== undefined) throw new Error(`no virtual cluster here: ${refusal}`);
  prepareImage();
  await using site = await openCluster();
  const desk = readFileSync(join(site.folder, 'desk.pid'), 'utf8').trim();
  const program = [process.execPath, ...process.execArgv, join(REPO, 'test/cluster/slurm/bench.ts')];
  const text = execFileSync('nsenter', ['-t', desk, '-n', '--', ...program, site.folder, String(PAIRS)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const found = JSON.parse(text) as Record<'empty' | 'first' | 'warm', number[]>;
  const beyond = found.first.map((ms, k) => ms - (found.empty[k] ?? 0));
  return {
    'first call beyond an empty job': { value: median(beyond), unit: 'ms', bar: 2000 },
    'first call, container and all': { value: median(found.first), unit: 'ms' },
    'empty job of Slurm': { value: median(found.empty), unit: 'ms' },
    'next call, across the network': { value: median(found.warm), unit: 'ms' },
  };
}
