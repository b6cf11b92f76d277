import t from 'tap';
import { createGridEngine, gridState, readQacct, readQstat } from '../../../agent/schedulers/grid-engine.ts';
import { job, kinds, printed, recorded, script } from './parts.ts';

/** Every state of sge_status(5). */
const MANUAL: Readonly<Record<string, readonly string[]>> = {
  queued: ['qw', 'Rq'],
  held: ['hqw', 'hRwq', 'Eqw', 'Ehqw', 'EhRqw'],
  starting: ['t', 'Rt', 'ht'],
  running: ['r', 'hr', 'Rr'],
  suspended: ['s', 'ts', 'S', 'tS', 'T', 'tT', 'Rs', 'Rts', 'RS', 'RtS', 'RT', 'RtT'],
  ending: ['dr', 'dt', 'dRr', 'dRt', 'ds', 'dS', 'dT', 'dRs', 'dRS', 'dRT'],
};

t.test('every state of the manual has its meaning, and case means something', async (t) => {
  for (const [meaning, words] of Object.entries(MANUAL))
    for (const word of words) t.equal(gridState(word, 'n1').kind, meaning, word);
  t.not(gridState('t', 'n1').kind, gridState('T', 'n1').kind);
  t.match(gridState('Eqw', ''), { reason: /qstat -j/ }, 'an error is held, and told');
  for (const word of ['z', 'x', '', 'R', 'h']) t.equal(gridState(word, '').kind, 'unknown', `"${word}"`);
});

t.test('recorded answers of 8.1.9 are read', async (t) => {
  const listing = readQstat(printed(recorded('gridengine-8.1.9-qstat.xml')));
  t.match(kinds(listing), { '6': 'running' });
  if (listing.kind === 'listed') t.match(listing.jobs[0], { name: 'w.sh', state: { nodes: ['node2'] } });
  t.strictSame(readQacct(printed(recorded('gridengine-8.1.9-qacct.txt'))), {
    kind: 'listed',
    jobs: [{ id: '1', name: 'w.sh', state: { kind: 'ended', cause: 'completed', why: 'exit 0' }, ranS: 1 }],
  });
});

t.test('an ended job is what the accounting says', async (t) => {
  const ended = (failed: string, exit: number, more = ''): unknown =>
    kinds(
      readQacct(
        printed(
          `====\njobname      ff-e-b\njobnumber    7\nfailed       ${failed}\nexit_status  ${exit}\nru_wallclock 5s\n${more}`,
        ),
      ),
    );
  t.strictSame(ended('0', 0), { '7': 'ended completed' });
  t.strictSame(ended('0', 3), { '7': 'ended failed' });
  t.strictSame(ended('100 : assumedly after job', 137), { '7': 'ended failed' });
  t.strictSame(ended('100 : assumedly after job', 137, 'deleted_by   alice@head\n'), { '7': 'ended cancelled' });
  t.strictSame(ended('44  : execd enforced h_rt limit', 137), { '7': 'ended walltime' });
  t.strictSame(
    ended('37  : qmaster enforced h_rt, h_cpu, or h_vmem limit', 137),
    { '7': 'ended memory' },
    'unless it ran for all of its time',
  );
  t.strictSame(ended('19  : before writing exit_status', 0), { '7': 'ended nodeLost' });
  t.strictSame(ended('25  : rescheduling', 0), { '7': 'ended preempted' });
  t.strictSame(ended('26  : opening input/output file', 1), { '7': 'ended launchFailed' });
  t.strictSame(ended('1   : assumedly before job', 0), { '7': 'ended launchFailed' });
});

t.test('what is no list ends nothing', async (t) => {
  t.strictSame(readQacct(printed('', 'error: job id 99 not found\n', 1)), { kind: 'listed', jobs: [] });
  t.equal(kinds(readQacct(printed('', 'error: failed opening accounting file', 1))), 'failed');
  t.equal(kinds(readQstat(printed('error: commlib error: got select error (Connection refused)\n', '', 1))), 'failed');
  t.equal(
    kinds(readQstat(printed(recorded('gridengine-8.1.9-qstat.xml').slice(0, 700)))),
    'failed',
    'XML that was cut',
  );
  t.strictSame(readQstat(printed("<?xml version='1.0'?>\n<job_info>\n</job_info>\n")), { kind: 'listed', jobs: [] });
  const { readSubmit, readCancel, sources } = createGridEngine();
  t.strictSame(readSubmit(printed('42\n')), { kind: 'submitted', id: '42' });
  t.strictSame(readSubmit(printed('Your job 42 ("x") has been submitted\n')), { kind: 'submitted', id: '42' });
  t.match(readSubmit(printed('', 'Unable to run job: unknown queue "x".\nExiting.', 1)), { kind: 'refused' });
  t.match(readSubmit(printed('', 'error: commlib error: got select timeout\n', 1)), { kind: 'unclear' });
  t.equal(readCancel(printed('denied: job "99" does not exist\n', '', 1)), undefined);
  t.equal(sources[0].command(['1', '2', '3']).argv.length, 2, 'one command whatever the number');
});

t.test('the options of a site are in the script, which turns the warning into TERM', async (t) => {
  const { render } = createGridEngine();
  const text = script(
    render(job({ account: 'lab', queue: 'all.q', cpus: 8, parallelEnvironment: 'smp', lines: ['-l gpu=1'] })).files,
  );
  for (const expected of [
    '-S /bin/bash',
    '-P lab',
    '-q all.q',
    '-pe smp 8',
    '-l h_rt=3600',
    '-notify',
    '-r n',
    '-l gpu=1',
  ])
    t.ok(text.includes(`#$ ${expected}\n`), expected);
  t.match(text, /trap drain TERM INT USR1 USR2 XCPU/);
  t.throws(() => render(job({ gpus: 2 })), { message: /Grid Engine has no gpus; name the complex/ });
  t.throws(() => render(job({ cpus: 2 })), { message: /needs a parallelEnvironment/ });
  t.throws(
    () => render(job({ setup: ['#$ -q other'] })),
    { message: /is a directive/ },
    'it looks for directives in the whole script',
  );
});
