/** A scheduler whose jobs are what a test makes of them. */
import type { BlockRequest, EndCause, Ended, JobState, OnEnd, Scheduler } from '../../agent/schedulers/scheduler.ts';

export interface TestScheduler extends Scheduler {
  readonly submitted: BlockRequest[];
  readonly cancelled: string[];
  /** What a job is now; `running` unless a test says otherwise. */
  readonly states: Map<string, JobState>;
  onSubmit: (request: BlockRequest) => void;
  end(job: string, why: string, cause?: EndCause, end?: Ended): void;
  /** Tells what a look says, as a scheduler that pushes. */
  say(job: string, state: JobState, restarts?: number): void;
  /** The job that `find` knows for each block. */
  readonly jobs: Map<string, string>;
  namesNodes: boolean;
}

/** `pushes`: it tells states by itself, as batch schedulers do; else only what it is asked. */
export function createTestScheduler(pushes = false): TestScheduler {
  const listeners: OnEnd[] = [];
  const tells: ((job: string, state: JobState, restarts: number | undefined) => void)[] = [];
  const scheduler: TestScheduler = {
    name: 'test',
    pushes: true,
    submitted: [],
    cancelled: [],
    states: new Map(),
    onSubmit: () => undefined,
    submit(request) {
      scheduler.submitted.push(request);
      const job = `job ${scheduler.submitted.length}`;
      scheduler.states.set(job, { kind: 'running', nodes: ['node-1'] });
      scheduler.jobs.set(request.block, job);
      scheduler.onSubmit(request);
      return Promise.resolve(job);
    },
    status: (jobs) =>
      Promise.resolve(
        new Map(jobs.map((job) => [job, scheduler.states.get(job) ?? { kind: 'unknown', why: 'not listed' }])),
      ),
    cancel(job) {
      scheduler.cancelled.push(job);
      scheduler.states.set(job, { kind: 'ended', cause: 'cancelled', why: 'cancelled' });
      for (const listener of listeners) listener(job, 'cancelled', 'cancelled');
      return Promise.resolve({ left: [] });
    },
    onEnd: (listener) => void listeners.push(listener),
    end(job, why, cause = 'lost', end = undefined) {
      scheduler.states.set(job, end ?? { kind: 'ended', cause, why });
      for (const listener of listeners) listener(job, why, cause, end);
    },
    say(job, state, restarts) {
      scheduler.states.set(job, state);
      for (const tell of tells) tell(job, state, restarts);
    },
    jobs: new Map(),
    namesNodes: false,
    find: ({ block }) => Promise.resolve(scheduler.jobs.get(block)),
    ...(pushes ? { onState: (tell) => void tells.push(tell) } : {}),
  };
  return scheduler;
}
