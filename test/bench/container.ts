/**
 * What a container adds: the first call of a pilot that finds nothing warm beside `apptainer exec image true`, and a warm call
 * beside one of a plain process. Interleaved pairs, medians, real Apptainer as an ordinary user.
 */
import { join } from 'node:path';
import type { ContainerTimes } from '../cluster/apptainer/bench.ts';
import { hostRefusal, runOnHost } from '../cluster/apptainer/host.ts';
import { REPO } from '../cluster/cluster.ts';
import { type Figures, median } from './figures.ts';

export async function container(): Promise<Figures> {
  const refusal = hostRefusal();
  if (refusal !== undefined) throw new Error(refusal);
  const { status, stdout } = runOnHost(join(REPO, 'test/cluster/apptainer/bench.ts'), 'pipe');
  if (status !== 0) throw new Error(`the bench on the host ended with ${status}`);
  const times = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as ContainerTimes;
  const beyond = (all: readonly number[], base: readonly number[]): number =>
    median(all.map((ms, k) => ms - (base[k] ?? Number.NaN)));
  const plain = (all: readonly number[]): Figures[string] => ({ value: median(all), unit: 'ms' });
  return {
    'cold container beyond `apptainer exec true`': { value: beyond(times.first, times.bare), unit: 'ms', bar: 1000 },
    'the same, not the first of its pilot': { value: beyond(times.later, times.bare), unit: 'ms', bar: 1000 },
    'warm container call beyond a process call': {
      value: beyond(times.warmContainer, times.warmProcess),
      unit: 'ms',
      bar: 2,
    },
    '`apptainer exec image true`': plain(times.bare),
    'cold container to its first outcome': plain(times.first),
    'cold process to its first outcome': plain(times.process),
    'warm container call': plain(times.warmContainer),
    'warm process call': plain(times.warmProcess),
  };
}
