import t from 'tap';
import { createPbs, PBS_EXITS, PBS_STATES, readJson, readText } from '../../../agent/schedulers/pbs.ts';
import { job, kinds, printed, recorded, script } from './parts.ts';

const one = (fields: Record<string, unknown>): string =>
  JSON.stringify({ Jobs: { '7.pbsb': { Job_Name: 'ff-e-b', ...fields } } });
const state = (fields: Record<string, unknown>): unknown => {
  const listing = readJson(printed(one(fields)));
  return listing.kind === 'listed' ? listing.jobs[0]?.state : listing;
};
const kind = (fields: Record<string, unknown>): unknown => {
  const all = kinds(readJson(printed(one(fields))));
  return typeof all === 'string' ? all : all['7.pbsb'];
};

t.test('every state of the manual has its meaning', async (t) => {
  const manual = {
    Q: 'queued',
    W: 'queued',
    T: 'queued',
    H: 'held',
    B: 'running',
    R: 'running',
    S: 'suspended',
    U: 'suspended',
    E: 'ending',
    M: 'unknown',
  };
  for (const [word, meaning] of Object.entries(manual)) t.equal(kind({ job_state: word }), meaning, word);
  for (const word of ['F', 'X']) t.equal(kind({ job_state: word, Exit_status: 0 }), 'ended completed', word);
  t.strictSame(Object.keys(PBS_STATES).sort(), [...Object.keys(manual), 'F', 'X'].sort(), 'and no other');
  t.strictSame(state({ job_state: 'Z' }), { kind: 'unknown', why: 'PBS says Z' });
  t.strictSame(state({}), { kind: 'unknown', why: 'PBS says nothing' });
});

t.test('a finished job ended as its exit status says, never just "completed"', async (t) => {
  const of = (status: number, more: Record<string, unknown> = {}): unknown =>
    kind({ job_state: 'F', Exit_status: status, ...more });
  t.equal(of(1), 'ended failed');
  t.equal(of(7), 'ended failed');
  t.equal(of(-29), 'ended walltime');
  t.equal(of(-27), 'ended memory');
  t.equal(of(-20), 'ended nodeLost');
  t.equal(of(-17), 'ended launchFailed');
  t.equal(of(-10), 'ended launchFailed', 'in Torque this is memory: the tables are not shared');
  t.equal(of(271), 'ended cancelled', '256 + TERM');
  t.equal(of(143), 'ended cancelled', '128 + TERM');
  t.equal(of(265), 'ended failed', '256 + KILL');
  t.equal(
    of(271, { resources_used: { walltime: '01:00:05' }, Resource_List: { walltime: '01:00:00' } }),
    'ended walltime',
    'TERM after all of its time',
  );
  t.equal(
    of(271, { resources_used: { walltime: '00:10:00' }, Resource_List: { walltime: '01:00:00' } }),
    'ended cancelled',
  );
  t.equal(of(265, { comment: 'Job run at Sun Nov 22 and exceeded resource walltime' }), 'ended walltime');
  t.equal(of(-99), 'ended failed', 'a code that we do not know is no success');
  t.equal(kind({ job_state: 'F' }), 'ended cancelled', 'deleted while it was queued: it has no exit');
  for (const [status, [cause]] of Object.entries(PBS_EXITS)) t.equal(of(Number(status)), `ended ${cause}`, status);
  t.equal(Object.keys(PBS_EXITS).length, 30);
});

t.test('recorded answers of OpenPBS 23.06 are read', async (t) => {
  const array = readJson(printed(recorded('openpbs-23.06-qstat-array.json')));
  t.strictSame(kinds(array), { '1[].pbsb': 'running' }, 'B: an array that has begun');
  const text = readText(printed(recorded('openpbs-23.06-qstat-f.txt')));
  t.strictSame(kinds(text), { '2.pbsb': 'queued' });
  if (text.kind === 'listed')
    t.strictSame(
      text.jobs[0],
      {
        id: '2.pbsb',
        name: 'wall',
        state: { kind: 'queued', reason: 'Not Running: Insufficient amount of resource: ncpus (R: 2 A: 1 T: 4)' },
      },
      'a reason over two lines',
    );
  const both = `${recorded('openpbs-23.06-qstat-f.txt')}Job Id: 5.pbsb\n    Job_Name = x\n    job_state = F\n    exec_host = pbsb/0*2\n    Exit_status = -29\n    resources_used.walltime = 00:00:14\n\n`;
  t.strictSame(kinds(readText(printed(both))), { '2.pbsb': 'queued', '5.pbsb': 'ended walltime' });
});

t.test('an id that is not known is an answer; anything else on stderr is trouble', async (t) => {
  t.strictSame(readJson(printed('', 'qstat: Unknown Job Id 9999.pbsb\n', 153)), { kind: 'listed', jobs: [] });
  t.strictSame(kinds(readJson(printed(one({ job_state: 'R' }), 'qstat: Unknown Job Id 9999.pbsb\n', 153))), {
    '7.pbsb': 'running',
  });
  t.equal(
    kinds(readJson(printed('', 'Connection refused\nqstat: cannot connect to server pbsb (errno=111)\n', 111))),
    'failed',
    'a server that is down ends nothing',
  );
  t.equal(
    kinds(readJson(printed('', 'qstat: PBS is not configured to maintain job history\n', 1))),
    'failed',
    'the next source asks for live ones',
  );
  t.equal(
    kinds(readJson(printed('{"Jobs": {"7.pbsb": {"Variable_List": {"X": "a\nb"}}'))),
    'failed',
    'JSON broken by a value of an environment',
  );
  t.equal(kinds(readText(printed('', 'qstat: conflicting options.\nusage: \nqstat [-f]', 2))), 'failed');
  t.strictSame(
    createPbs().sources.map(({ command }) => command(['7.pbsb']).argv),
    [
      ['qstat', '-x', '-f', '-F', 'json', '7.pbsb'],
      ['qstat', '-x', '-f', '7.pbsb'],
      ['qstat', '-f', '7.pbsb'],
    ],
  );
});

t.test('ids are kept whole', async (t) => {
  const { readSubmit, readCancel } = createPbs();
  t.strictSame(readSubmit(printed('123.server-1.site.org\n')), { kind: 'submitted', id: '123.server-1.site.org' });
  t.strictSame(readSubmit(printed('Welcome to 4.2 of this machine.\n123.pbsb\n')), {
    kind: 'submitted',
    id: '123.pbsb',
  });
  t.match(readSubmit(printed('', 'qsub: Unknown queue\n', 170)), { kind: 'refused', why: 'qsub: Unknown queue' });
  t.match(readSubmit(printed('', 'qsub: cannot connect to server pbsb (errno=15010)', 1)), { kind: 'unclear' });
  t.equal(readCancel(printed('', 'qdel: Unknown Job Id 9999.pbsb\n', 153)), undefined, 'gone already');
  t.match(readCancel(printed('', 'qdel: Unauthorized Request  7.pbsb', 159)), 'qdel: Unauthorized Request  7.pbsb');
  t.strictSame(createPbs().finders[0].read(printed('7.pbsb\n8.pbsb\n')), {
    kind: 'listed',
    jobs: ['7.pbsb', '8.pbsb'].map((id) => ({ id, state: { kind: 'unknown', why: 'found by its name' } })),
  });
  t.equal(createPbs().finders[0].read(printed('no server\n')).kind, 'failed');
});

t.test('the options of a site are in the script', async (t) => {
  const { render } = createPbs();
  const text = script(
    render(
      job(
        {
          account: 'proj',
          queue: 'prod',
          cpus: 64,
          gpus: 4,
          memMiB: 4096,
          constraint: 'arch=milan',
          exclusive: true,
          lines: ['-l filesystems=home:eagle'],
        },
        { nodes: 10 },
      ),
    ).files,
  );
  for (const expected of [
    '-A proj',
    '-q prod',
    '-l select=10:ncpus=64:ngpus=4:mem=4096mb:arch=milan',
    '-l place=scatter:excl',
    '-l walltime=01:00:00',
    '-l filesystems=home:eagle',
    '-N ff-abcdefgh-block1',
  ])
    t.ok(text.includes(`#PBS ${expected}\n`), expected);
  t.match(text, /exec mpiexec -n 10 -ppn 1 \/opt\/farfield\/node /);
  t.notMatch(text, /^#PBS -V/m, 'the environment is never exported');
  t.match(
    script(render(job({ reservation: 'R123', queue: 'prod' })).files),
    /#PBS -q R123\n/,
    'a reservation is a queue',
  );
});
