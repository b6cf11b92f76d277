/** Every driver by its name in the configuration. */
import type { Driver } from './driver.ts';
import { createFlux } from './flux.ts';
import { createGridEngine } from './grid-engine.ts';
import { createHtcondor } from './htcondor.ts';
import { createKubernetes } from './kubernetes.ts';
import { createLsf } from './lsf.ts';
import type { BatchConfig, BatchSchedulerName } from './options.ts';
import { createPbs } from './pbs.ts';
import { createSlurm } from './slurm.ts';

const DRIVERS: Readonly<Record<BatchSchedulerName, (config: BatchConfig) => Driver>> = {
  slurm: () => createSlurm(),
  pbs: createPbs,
  lsf: createLsf,
  gridengine: createGridEngine,
  htcondor: createHtcondor,
  flux: createFlux,
  kubernetes: createKubernetes,
};

export function createDriver(name: BatchSchedulerName, config: BatchConfig = {}): Driver {
  return DRIVERS[name](config);
}
