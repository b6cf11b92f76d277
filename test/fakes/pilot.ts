/** A pilot as its main.ts builds it, but in the test's process and with a runner of the test's choice. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { unixDialler } from '#base/link/unix.ts';
import { probeContainment } from '#base/process.ts';
import { systemRandom } from '#base/random.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import type { LogFields } from '../../pilot/log.ts';
import { Pilot } from '../../pilot/pilot.ts';
import { createProcessRuntime } from '../../pilot/runtimes/process.ts';
import type { FakeAgent } from './agent.ts';

export interface RunningPilot {
  readonly pilot: Pilot;
  readonly ended: Promise<string>;
  readonly lines: { message: string; fields: LogFields }[];
  readonly errors: unknown[];
}

export function startPilot(agent: FakeAgent): RunningPilot {
  const lines: RunningPilot['lines'] = [];
  const errors: unknown[] = [];
  const scratch = (name: string): string => {
    const path = join(agent.folder, 'scratch', name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  };
  const runtime = createProcessRuntime({
    ...agent.block.runner,
    env: agent.block.env,
    containment: probeContainment,
    clock: systemClock,
    random: systemRandom,
  });
  const line = (fields: LogFields, message: string): void => void lines.push({ fields, message });
  const pilot = new Pilot({
    block: agent.block,
    dialler: unixDialler({ path: agent.block.socket }),
    signer: signerFrom(generateKey()),
    clock: systemClock,
    random: systemRandom,
    digests: createFileDigests(),
    runtime: (name) => (name === runtime.name ? runtime : undefined),
    scratchDir: (slot) => scratch(`slot-${slot}`),
    spillDir: scratch('args'),
    node: 'node-1',
    pid: 1,
    log: { info: line, warn: line, error: (reason) => errors.push(reason) },
  });
  return { pilot, ended: pilot.run(), lines, errors };
}
