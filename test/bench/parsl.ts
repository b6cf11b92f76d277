/**
 * No-ops in batches of 1,000 over two nodes with two slots each of the virtual cluster: Farfield beside Parsl's
 * HighThroughputExecutor at the best of several settings, which is installed from PyPI for the run.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { clusterRefusal, KEPT, openCluster, REPO } from '../cluster/cluster.ts';
import type { ParslFound } from '../cluster/slurm/parsl.ts';
import type { Figures } from './figures.ts';

const TASKS = 60_000;
const FULL_S = 30;
/** Of the nodes' Debian. */
const PYTHON = '3.13';
const PLATFORMS = ['manylinux2014', 'manylinux_2_26', 'manylinux_2_28'];

/** Fewer seconds, fewer tasks: from 30 on it is all of them. */
export async function parsl(seconds: number): Promise<Figures> {
  const refusal = clusterRefusal();
  if (refusal !== undefined) throw new Error(`no virtual cluster here: ${refusal}`);
  const count = Math.min(TASKS, Math.max(4000, Math.round((TASKS * seconds) / FULL_S / 1000) * 1000));
  const wheels = prepareWheels();
  await using site = await openCluster({ packages: ['python3', 'python3-venv'] });
  cpSync(wheels, site.path('head', '/shared/parsl/wheels'), { recursive: true });
  const desk = readFileSync(join(site.folder, 'desk.pid'), 'utf8').trim();
  const program = [process.execPath, ...process.execArgv, join(REPO, 'test/cluster/slurm/parsl.ts')];
  const text = execFileSync('nsenter', ['-t', desk, '-n', '--', ...program, site.folder, String(count)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const found = JSON.parse(text.trim().split('\n').at(-1) ?? '') as ParslFound;
  for (const { prefetch, encrypted, poll_ms, outstanding, count: n, seconds: s } of found.trials)
    process.stdout.write(
      `  trial: prefetch ${prefetch}, ${encrypted ? 'encrypted' : 'plain'}, poll ${poll_ms} ms, ${outstanding || 'all'} batches at once: ${(n / s).toFixed(0)}/s\n`,
    );
  return figuresOf(found);
}

function figuresOf({ count, farfieldSeconds, halves, best, shippedPerSecond }: ParslFound): Figures {
  const [ours, theirs] = [count / farfieldSeconds, count / best.seconds];
  return {
    'Farfield beside Parsl': { value: ours / theirs, unit: 'x', bar: 2, more: true },
    Farfield: { value: ours, unit: '/s' },
    'Farfield, first half': { value: halves[0] ?? Number.NaN, unit: '/s' },
    'Farfield, second half, after Parsl': { value: halves[1] ?? Number.NaN, unit: '/s' },
    'Parsl, best settings': { value: theirs, unit: '/s' },
    'Parsl, as shipped, a tenth of the tasks': { value: shippedPerSecond, unit: '/s' },
    tasks: { value: count, unit: '' },
    'best settings: prefetch': { value: best.prefetch, unit: '' },
    'best settings: encrypted': { value: Number(best.encrypted), unit: '' },
    'best settings: poll': { value: best.poll_ms, unit: 'ms' },
    'best settings: batches at once (0: all)': { value: best.outstanding, unit: '' },
  };
}

/** Parsl and what it needs, for the nodes' Python, which has no way to a registry; downloaded once and kept. */
function prepareWheels(): string {
  const wheels = join(KEPT, 'parsl-wheels');
  if (existsSync(wheels)) return wheels;
  const fresh = `${wheels}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const platforms = PLATFORMS.flatMap((name) => ['--platform', `${name}_${arch}`]);
  const options = ['--only-binary=:all:', '--implementation', 'cp', '--python-version', PYTHON, ...platforms];
  execFileSync('python3', ['-m', 'pip', 'download', '-q', '-d', fresh, ...options, 'parsl'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  renameSync(fresh, wheels);
  return wheels;
}
