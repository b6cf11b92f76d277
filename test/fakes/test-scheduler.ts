/** A scheduler whose jobs are what a test makes of them. */
import type { BlockRequest, EndCause, JobState, Scheduler } from '../../agent/schedulers/scheduler.ts';

export interface TestScheduler extends Scheduler {
  readonly submitted: BlockRequest[];
  readonly cancelled: string[];
  /** What a job is now; `running` unless a test says otherwise. */
  readonly states: Map<string, JobState>;
  onSubmit: (request: BlockRequest) => void;
  end(job: string, why: string): void;
}

export function createTestScheduler(): TestScheduler {
  const listeners: ((job: string, why: string, cause: EndCause) => void)[] = [];
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
      return Promise.resolve({ left: [] });
    },
    onEnd: (listener) => void listeners.push(listener),
    end(job, why) {
      scheduler.states.set(job, { kind: 'ended', cause: 'lost', why });
      for (const listener of listeners) listener(job, why, 'lost');
    },
  };
  return scheduler;
}
