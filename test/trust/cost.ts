/** What radii, flags and verdict cost on the whole validation job, sampling off: interleaved pairs on one loaded model. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import type { Call } from '../../runner/adapters/adapter.ts';
import { createModelCalls } from '../../runner/model-calls.ts';
import { median } from '../bench/figures.ts';

export interface Cost {
  /** Median over the pairs of (with / without) - 1. */
  readonly wall: number;
  readonly cpu: number;
  readonly plainMs: number;
}

export async function measureCost(folder: string, data: string, pairs: number, clock: Clock): Promise<Cost> {
  const scratchDir = mkdtempSync(join(tmpdir(), 'farfield-trust-cost-'));
  const calls = createModelCalls('ort', clock);
  const run = async (method: string): Promise<{ ms: number; cpu: number }> => {
    const call: Call = {
      item: {
        id: method,
        args: [],
        outDir: scratchDir,
        maxInlineBytes: 0,
        maxBytes: 2 ** 32,
        uncertainty: { method, samples: 0, level: 0.95 },
      },
      args: [
        { arg: { name: 'patches', type: 'hdf5', at: 'file', path: data, sel: '/patches', size: 0 }, bytes: undefined },
      ],
      cancelled: false,
      onCancel: undefined,
      progress: () => {},
    };
    const [started, before] = [clock.mono(), process.cpuUsage()];
    await calls.infer(call);
    const { user, system } = process.cpuUsage(before);
    return { ms: clock.mono() - started, cpu: user + system };
  };
  try {
    await calls.load({ modelRoot: folder, variant: undefined, entry: {}, threads: 2, scratchDir });
    await run('none');
    await run('l2');
    const found: { wall: number; cpu: number; plain: number }[] = [];
    for (let pair = 0; pair < pairs; pair++) {
      // The order changes from pair to pair: what drifts on the machine weighs on both alike.
      const order = pair % 2 === 0 ? ['none', 'l2'] : ['l2', 'none'];
      const times = new Map<string, { ms: number; cpu: number }>();
      for (const method of order) times.set(method, await run(method));
      const [plain, full] = [times.get('none'), times.get('l2')];
      if (plain === undefined || full === undefined) throw new TypeError('both ran');
      found.push({ wall: full.ms / plain.ms - 1, cpu: full.cpu / plain.cpu - 1, plain: plain.ms });
    }
    return {
      wall: median(found.map(({ wall }) => wall)),
      cpu: median(found.map(({ cpu }) => cpu)),
      plainMs: median(found.map(({ plain }) => plain)),
    };
  } finally {
    await calls.close();
    rmSync(scratchDir, { recursive: true, force: true });
  }
}
