/**
 * The machine itself as a scheduler: a block is one detached pilot.
 *
 * Invariants
 *  L1 The pilot outlives this agent (its own session, no pipes to us); the job text is its tree handle, so that an agent of
 *     a later life can ask for it and end it.
 *  L2 Its end is noticed by looking at /proc once a second while any block lives: a detached process of an earlier life is
 *     nobody's child, and Node has no pidfd. A block that said goodbye over its link needs no looking.
 */
import type { Clock, Timer } from '#base/clock.ts';
import { killTree, pidAlive, startDetached, type TreeHandle } from '#base/process.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { BlockRequest, EndCause, JobState, Scheduler } from './scheduler.ts';

/** How often a living block is looked at: one read of /proc/PID/stat. */
const LOOK_MS = 1000;

export interface LocalOptions {
  /** The program that is a pilot; the block's folder is its last argument. */
  readonly pilot: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: (request: BlockRequest) => string;
  readonly clock: Clock;
  readonly random: Random;
  readonly hostname: string;
}

export interface LocalScheduler extends Scheduler, Disposable {}

export function createLocalScheduler(options: LocalOptions): LocalScheduler {
  const { clock, random, hostname } = options;
  const watched = new Set<string>();
  const listeners: ((job: string, why: string, cause: EndCause) => void)[] = [];
  let timer: Timer | undefined;

  const look = (): void => {
    timer = undefined;
    for (const job of [...watched]) {
      if (pidAlive(readHandle(job))) continue;
      watched.delete(job);
      for (const listener of listeners) listener(job, 'its process ended', 'lost');
    }
    arm();
  };
  const arm = (): void => {
    if (timer === undefined && watched.size > 0) timer = clock.after(LOOK_MS, look);
  };
  const watch = (job: string): void => {
    watched.add(job);
    arm();
  };

  return {
    name: 'local',
    pushes: true,
    async submit(request) {
      const [command, ...args] = options.pilot;
      const handle = await startDetached({
        command,
        args: [...args, request.folder],
        env: options.env,
        cwd: request.folder,
        logFile: options.logFile(request),
        random,
        // The pilot contains its runners itself; a namespace of its own would hide them from the agent that must end them.
        containment: 'none',
      });
      const job = JSON.stringify(handle);
      watch(job);
      return job;
    },
    status(jobs) {
      const states = new Map<string, JobState>();
      for (const job of jobs) {
        const alive = pidAlive(readHandle(job));
        states.set(
          job,
          alive ? { kind: 'running', nodes: [hostname] } : { kind: 'ended', cause: 'lost', why: 'its process is gone' },
        );
        if (alive) watch(job);
      }
      return Promise.resolve(states);
    },
    async cancel(job, graceMs) {
      const { left } = await killTree(readHandle(job), { clock, graceMs });
      return { left: left.map((pid) => `process ${pid}`) };
    },
    onEnd(listener) {
      listeners.push(listener);
    },
    [Symbol.dispose]() {
      timer?.cancel();
      watched.clear();
    },
  };
}

function readHandle(job: string): TreeHandle {
  try {
    return JSON.parse(job) as TreeHandle;
  } catch (cause) {
    throw new FarfieldError('E_INTERNAL', 'a local job that is no process handle', { cause });
  }
}
