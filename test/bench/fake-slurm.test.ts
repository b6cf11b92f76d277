import t from 'tap';
import { mostAtOnce, parseCalls } from './fake-slurm.ts';

const call = (beganMs: number, endedMs: number) => ({ command: 'sbatch', beganMs, endedMs });

t.test('calls are read in the order in which they began, without a line that is still being written', async (t) => {
  const text = '20.5 20.75 squeue -h\n10.25 10.5 sbatch --parsable\n30 30.5 squeue --version\n40 4';
  t.strictSame(parseCalls(text), [
    { command: 'sbatch', beganMs: 10_250, endedMs: 10_500 },
    { command: 'squeue', beganMs: 20_500, endedMs: 20_750 },
    { command: 'squeue --version', beganMs: 30_000, endedMs: 30_500 },
  ]);
  t.strictSame(parseCalls(''), []);
});

t.test('what overlapped is counted, and what followed at once is not', async (t) => {
  t.equal(mostAtOnce([]), 0);
  t.equal(mostAtOnce([call(1, 2), call(2, 3), call(5, 6)]), 1);
  t.equal(mostAtOnce([call(1, 4), call(2, 3), call(2.5, 6)]), 3);
});
