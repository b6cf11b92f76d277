/**
 * How large this node is for us: what the job has of it, not what the machine has.
 *
 * Invariants
 *  Z1 The smallest of what is said holds: the scheduler's variable, the cores that the kernel lets us run on, the memory
 *     limits of our control group and of every one above it.
 */
import type { NodeSize } from '#kernel/resources.ts';
import type { Gpus } from './gpus.ts';

/** What main.ts reads of the machine. */
export interface Machine {
  /** Those that this process may run on. */
  readonly cores: number;
  readonly memBytes: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Text of a file; undefined where it cannot be read. */
  readonly read: (path: string) => string | undefined;
}

const MiB = 1024 * 1024;
/** Cores of this node alone; a variable that counts a whole block's (NSLOTS, LSB_DJOB_NUMPROC) would be wrong on two. */
const CORE_VARIABLES = ['SLURM_CPUS_ON_NODE', 'NCPUS'] as const;
const CGROUPS = '/sys/fs/cgroup';

export function sizeOf(slots: number, machine: Machine, gpus: Gpus | undefined): NodeSize {
  const told = CORE_VARIABLES.map((name) => Number(machine.env[name])).filter((n) => Number.isInteger(n) && n > 0);
  return {
    slots,
    cores: Math.min(machine.cores, ...told),
    memMiB: Math.floor(Math.min(machine.memBytes, ...memoryLimits(machine.read)) / MiB),
    gpus: gpus?.names.length ?? 0,
    accelerator: gpus?.vendor ?? '',
  };
}

/** Z1. Both generations of control groups; "max", and the first one's huge number, are no limits. */
export function memoryLimits(read: Machine['read']): number[] {
  const limits: number[] = [];
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    const isFirst = controllers.split(',').includes('memory');
    if (controllers !== '' && !isFirst) continue;
    const root = isFirst ? `${CGROUPS}/memory` : CGROUPS;
    const file = isFirst ? 'memory.limit_in_bytes' : 'memory.max';
    const parts = path.split('/').filter(Boolean);
    for (let depth = parts.length; depth >= 0; depth -= 1) {
      const text = read([root, ...parts.slice(0, depth), file].join('/'))?.trim() ?? '';
      if (/^\d+$/.test(text)) limits.push(Number(text));
    }
  }
  return limits;
}

/** Programs that count cores themselves see the machine's; these follow what the function was given. */
export function threadEnv(cores: number): Readonly<Record<string, string>> {
  if (cores === 0) return {};
  const count = String(cores);
  return { OMP_NUM_THREADS: count, OPENBLAS_NUM_THREADS: count, MKL_NUM_THREADS: count };
}
