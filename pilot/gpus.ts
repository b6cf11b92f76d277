/**
 * The accelerators of this node that are the block's, and who has which.
 *
 * Invariants
 *  G1 A runner that asked for accelerators sees its own and no other; while it lives nobody else gets them.
 *  G2 One vendor's variable is set: the others' would contradict it (ROCm programs read CUDA's too).
 *  G3 A runner that asked for none sees none, where this node has any.
 *  G4 Where the scheduler names no devices and none are found, nothing is pinned: the site's own means hold.
 */
import type { Slot } from './slot.ts';

export type GpuVendor = 'nvidia' | 'amd';

export interface Gpus {
  readonly vendor: GpuVendor;
  /** As the vendor's variable names them: indices, or UUIDs. */
  readonly names: readonly string[];
}

const VARIABLE = { nvidia: 'CUDA_VISIBLE_DEVICES', amd: 'ROCR_VISIBLE_DEVICES' } as const;
const NONE = /^(|-1|none|void|NoDevFiles)$/i;

/** `devices`: the files of /dev and of /dev/dri. */
export function findGpus(
  configured: GpuVendor | 'none',
  env: Readonly<Record<string, string | undefined>>,
  devices: readonly string[],
): Gpus | undefined {
  const told = (vendor: GpuVendor): string | undefined => env[VARIABLE[vendor]];
  const vendor =
    configured !== 'none'
      ? configured
      : told('nvidia') !== undefined
        ? 'nvidia'
        : told('amd') === undefined
          ? undefined
          : 'amd';
  if (vendor === undefined) return undefined;
  const list = told(vendor);
  if (list !== undefined) {
    const names = NONE.test(list.trim())
      ? []
      : list
          .split(',')
          .map((name) => name.trim())
          .filter(Boolean);
    return names.length === 0 ? undefined : { vendor, names };
  }
  const file = vendor === 'nvidia' ? /^nvidia(\d+)$/ : /^renderD(\d+)$/;
  const count = devices.filter((name) => file.test(name)).length;
  return count === 0 ? undefined : { vendor, names: Array.from({ length: count }, (_, k) => String(k)) };
}

/** Enough free ones for a runner; undefined while others have them. */
export function takeGpus(gpus: Gpus | undefined, count: number, slots: readonly Slot[]): readonly string[] | undefined {
  if (gpus === undefined || count === 0) return [];
  const used = new Set(slots.flatMap((slot) => slot.gpus));
  const free = gpus.names.filter((name) => !used.has(name));
  return free.length < count ? undefined : free.slice(0, count);
}

/** G1 to G3: what a runner with these is told. */
export function gpuEnv(gpus: Gpus | undefined, own: readonly string[]): Readonly<Record<string, string>> {
  return gpus === undefined ? {} : { [VARIABLE[gpus.vendor]]: own.join(',') };
}
