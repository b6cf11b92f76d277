/** What tests of drivers share: recorded output, a job, and a short way to say what a listing holds. */
import { readFileSync } from 'node:fs';
import type { JobSpec, Listing, Output } from '../../../agent/schedulers/driver.ts';
import type { SchedulerOptions } from '../../../agent/schedulers/options.ts';

export function recorded(name: string): string {
  return readFileSync(new URL(`../../fixtures/scheduler/${name}`, import.meta.url), 'utf8');
}

export const printed = (stdout: string, stderr = '', code = 0): Output => ({ code, stdout, stderr });

/** `{ '101': 'ended walltime' }`: kinds, and of ends the cause. */
export function kinds(listing: Listing): Record<string, string> | string {
  if (listing.kind === 'failed') return 'failed';
  return Object.fromEntries(
    listing.jobs.map(({ id, state }) => [id, state.kind === 'ended' ? `ended ${state.cause}` : state.kind]),
  );
}

export function job(options: SchedulerOptions = {}, more: Partial<JobSpec> = {}): JobSpec {
  return {
    name: 'ff-abcdefgh-block1',
    comment: 'farfield:endpoint=abcdefgh:block=block1:users=alice',
    folder: '/home/alice/ff/block1',
    log: '/home/alice/ff/block1/pilot.log',
    nodes: 1,
    wallS: 3600,
    pilot: ['/opt/farfield/node', '/opt/farfield/pilot.mjs', '/home/alice/ff/block1'],
    options,
    ...more,
  };
}

export function script(files: readonly { readonly name: string; readonly text: string }[], name = 'job.sh'): string {
  return files.find((file) => file.name === name)?.text ?? '';
}
