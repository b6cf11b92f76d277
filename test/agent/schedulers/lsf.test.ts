import t from 'tap';
import { createLsf, LSF_REASONS, LSF_STATES, readColumns, readJson } from '../../../agent/schedulers/lsf.ts';
import { job, kinds, printed, recorded, script } from './parts.ts';

const one = (fields: Record<string, string>): string =>
  JSON.stringify({ RECORDS: [{ JOBID: '7', JOB_NAME: 'ff-e-b', ...fields }] });
const kind = (fields: Record<string, string>): unknown => {
  const all = kinds(readJson(printed(one(fields))));
  return typeof all === 'string' ? all : all['7'];
};

t.test('every state and termination reason of the manual has its meaning', async (t) => {
  const manual = {
    PEND: 'queued',
    WAIT: 'queued',
    PROV: 'starting',
    RUN: 'running',
    PSUSP: 'held',
    USUSP: 'suspended',
    SSUSP: 'suspended',
    DONE: 'ended completed',
    EXIT: 'ended failed',
    UNKWN: 'unknown',
    ZOMBI: 'ending',
  };
  for (const [word, meaning] of Object.entries(manual)) t.equal(kind({ STAT: word }), meaning, word);
  t.strictSame(Object.keys(LSF_STATES).sort(), Object.keys(manual).sort(), 'and no other');
  for (const [reason, cause] of Object.entries(LSF_REASONS))
    t.equal(kind({ STAT: 'EXIT', EXIT_CODE: '1', EXIT_REASON: `${reason}: job killed` }), `ended ${cause}`, reason);
  t.ok(Object.keys(LSF_REASONS).length >= 33);
  t.equal(kind({ STAT: 'EXIT', EXIT_CODE: '140' }), 'ended walltime', '128 + USR2 is the run limit');
  t.equal(
    kind({ STAT: 'EXIT', EXIT_CODE: '1', EXIT_REASON: 'TERM_BRAND_NEW: ' }),
    'ended failed',
    'an unknown reason is a failure',
  );
  t.equal(kind({ STAT: 'HALTED' }), 'unknown');
});

t.test('documented answers are read', async (t) => {
  t.strictSame(kinds(readJson(printed(recorded('lsf-documented-bjobs.json'), '', 255))), {
    '101': 'running',
    '102': 'queued',
    '103': 'ended walltime',
    '104': 'held',
    '105': 'ended completed',
  });
  t.strictSame(kinds(readColumns(printed('101|RUN|-|4*n1:4*n2|ff-e-a\n1234567890|EXIT|140|n1|ff-e-b\n'))), {
    '101': 'running',
    '1234567890': 'ended walltime',
  });
});

t.test('mistakes that others make', async (t) => {
  t.equal(kind({ STAT: 'PSUSP' }), 'held', 'not cancelled: it may run while we look away');
  t.equal(kind({ STAT: 'UNKWN' }), 'unknown', 'its host is out of reach, and the job may live');
  t.strictSame(readJson(printed('', 'Job <7> is not found\n', 255)), { kind: 'listed', jobs: [] });
  t.equal(kinds(readJson(printed('', 'LSF is down. Please wait ...\n', 255))), 'failed');
  t.equal(
    kinds(readJson(printed('', 'bjobs: illegal option -- j', 255))),
    'failed',
    'an old version: the next source asks in columns',
  );
  t.equal(kinds(readColumns(printed('Cannot connect to LSF. Please wait ...\n', '', 0))), 'failed');
  const { readSubmit, submit, readCancel } = createLsf();
  t.strictSame(readSubmit(printed('Project checked.\nJob <42> is submitted to default queue <normal>.\n')), {
    kind: 'submitted',
    id: '42',
  });
  t.match(readSubmit(printed('', 'Request aborted by esub. Job not submitted.', 255)), { kind: 'refused' });
  t.match(readSubmit(printed('', 'Cannot connect to LSF. Please wait ...', 255)), { kind: 'unclear' });
  t.equal(readCancel(printed('', 'Job <7>: Job has already finished', 255)), undefined);
  t.strictSame(
    submit({ name: 'job.sh', text: 'the script', executable: true }, '/x/job.sh', job()),
    { argv: ['bsub'], stdin: 'the script' },
    'by stdin, where directives are read',
  );
});

t.test('the options of a site are in the script, and what LSF cannot say is refused', async (t) => {
  const { render } = createLsf();
  const text = script(
    render(
      job(
        { account: 'proj', queue: 'batch', cpus: 4, gpus: 6, memMiB: 1024, lines: ['-alloc_flags smt4'] },
        { nodes: 2, wallS: 3601 },
      ),
    ).files,
  );
  for (const expected of [
    '-P proj',
    '-q batch',
    '-n 8',
    '-R "span[ptile=4]"',
    '-W 61',
    '-gpu "num=6"',
    '-R "rusage[mem=1024MB]"',
    '-alloc_flags smt4',
  ])
    t.ok(text.includes(`#BSUB ${expected}\n`), expected);
  t.match(text, /exec jsrun --nrs 2 /);
  t.throws(() => render(job({ qos: 'high' })), { code: 'E_USAGE', message: /LSF has no qos/ });
});
