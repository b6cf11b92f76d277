/** A pilot as its main.ts builds it, but in the test's process and with a runner of the test's choice. */
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { unixDialler } from '#base/link/unix.ts';
import { type Containment, probeContainment } from '#base/process.ts';
import { systemRandom } from '#base/random.ts';
import type { NodeSize } from '#kernel/resources.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { freePort } from '../../pilot/free-port.ts';
import type { Gpus } from '../../pilot/gpus.ts';
import type { LogFields } from '../../pilot/log.ts';
import { Pilot } from '../../pilot/pilot.ts';
import { openRuntimes } from '../../pilot/runtimes/runtimes.ts';
import { type FakeAgent, type FakeAgentOptions, type Item, openFakeAgent } from './agent.ts';

export interface RunningPilot {
  readonly pilot: Pilot;
  readonly ended: Promise<string>;
  readonly lines: { message: string; fields: LogFields }[];
  readonly errors: unknown[];
}

/** `containment` is what the machine allows unless the test wants less. */
export function startPilot(
  agent: FakeAgent,
  containment: () => Promise<Containment> = probeContainment,
  gpus: Gpus | undefined = undefined,
  size: NodeSize | undefined = undefined,
): RunningPilot {
  const lines: RunningPilot['lines'] = [];
  const errors: unknown[] = [];
  const scratch = (name: string): string => {
    const path = join(agent.folder, 'scratch', name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  };
  const digests = createFileDigests();
  const runtime = openRuntimes({
    block: agent.block,
    outer: {},
    containment,
    digests,
    clock: systemClock,
    random: systemRandom,
  });
  const line = (fields: LogFields, message: string): void => void lines.push({ fields, message });
  const pilot = new Pilot({
    block: agent.block,
    diallers: [unixDialler({ path: agent.block.socket })],
    signer: signerFrom(generateKey()),
    clock: systemClock,
    random: systemRandom,
    digests,
    runtime,
    scratchDir: (slot) => scratch(`slot-${slot}`),
    spillDir: scratch('args'),
    node: 'node-1',
    pid: 1,
    freePort,
    gpus,
    size,
    log: { info: line, warn: line, error: (reason) => errors.push(reason) },
  });
  return { pilot, ended: pilot.run(), lines, errors };
}

/** The real runner, and the misbehaving one of raw-runner.ts. */
export const RUNNER = { command: process.execPath, args: [resolve('runner/main.ts')] };
export const raw = (mode: string) => ({ command: process.execPath, args: [resolve('test/fakes/raw-runner.ts'), mode] });

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
/** An item whose one argument tells the `fake` adapter what to do. */
export const act = (key: number, value: unknown, attempt = 1): Item => ({
  key,
  attempt,
  args: [{ name: 'x', bytes: json(value) }],
});

/** Whether any process has this text in its command line. */
export function processesWith(text: string): boolean {
  return readdirSync('/proc').some((entry) => {
    try {
      return /^\d+$/.test(entry) && readFileSync(`/proc/${entry}/cmdline`, 'utf8').includes(text);
    } catch {
      return false;
    }
  });
}

/** How many processes work in a folder below this one: runners of a block do. */
export function processesIn(folder: string): number {
  return readdirSync('/proc').filter((entry) => {
    try {
      return /^\d+$/.test(entry) && readlinkSync(`/proc/${entry}/cwd`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}

/** A pilot with an agent, for the time of `use`; both are ended, and the pilot must have had no errors of its own. */
export async function withPilot(
  t: Test,
  options: Partial<FakeAgentOptions> & { containment?: Containment; gpus?: Gpus; size?: NodeSize },
  use: (agent: FakeAgent, running: RunningPilot) => Promise<void>,
): Promise<void> {
  const { containment, gpus, size, ...rest } = options;
  const agent = await openFakeAgent({ runner: RUNNER, ...rest });
  const running = startPilot(agent, containment === undefined ? probeContainment : async () => containment, gpus, size);
  try {
    await agent.connected();
    await use(agent, running);
  } finally {
    await running.pilot.stop('the test is over', 0);
    await running.ended;
    await agent.close();
  }
  t.strictSame(running.errors, []);
}
