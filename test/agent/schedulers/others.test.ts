/** HTCondor, Flux and Kubernetes. */
import t from 'tap';
import { createFlux, FLUX_STATES, fluxId, readJobs } from '../../../agent/schedulers/flux.ts';
import { CONDOR_STATES, createHtcondor, readHistory, readQueue } from '../../../agent/schedulers/htcondor.ts';
import { createKubernetes, kubeName, readList } from '../../../agent/schedulers/kubernetes.ts';
import { job, kinds, printed, recorded, script } from './parts.ts';

const ad = (fields: Record<string, unknown>): string => JSON.stringify([{ ClusterId: 7, ProcId: 0, ...fields }]);

t.test('HTCondor: every JobStatus has its meaning, in the queue and in the history', async (t) => {
  const live = { 1: 'queued', 2: 'running', 3: 'ending', 4: 'ending', 5: 'held', 6: 'ending', 7: 'suspended' };
  for (const [status, meaning] of Object.entries(live))
    t.strictSame(
      kinds(readQueue(printed(ad({ JobStatus: Number(status) })))),
      { '7': meaning },
      CONDOR_STATES[Number(status)] ?? '',
    );
  t.strictSame(Object.keys(CONDOR_STATES), Object.keys(live), 'and no other');
  t.strictSame(kinds(readQueue(printed(ad({ JobStatus: 8 })))), { '7': 'unknown' });
  for (const code of [46, 47])
    t.strictSame(
      kinds(readQueue(printed(ad({ JobStatus: 5, HoldReasonCode: code })))),
      { '7': 'ended walltime' },
      'held for its time is its end',
    );
  t.strictSame(kinds(readQueue(printed(ad({ JobStatus: 5, HoldReasonCode: 34 })))), { '7': 'ended memory' });
  t.strictSame(kinds(readQueue(printed(ad({ JobStatus: 5, HoldReasonCode: 1 })))), { '7': 'held' }, 'held by a person');
  const past = (fields: Record<string, unknown>): unknown => kinds(readHistory(printed(ad(fields))));
  t.strictSame(past({ JobStatus: 4, ExitCode: 0, ExitBySignal: false }), { '7': 'ended completed' });
  t.strictSame(past({ JobStatus: 4, ExitCode: 3, ExitBySignal: false }), { '7': 'ended failed' });
  t.strictSame(past({ JobStatus: 4, ExitBySignal: true, ExitSignal: 9 }), { '7': 'ended failed' });
  t.strictSame(past({ JobStatus: 3, RemoveReason: 'via condor_rm (by user alice)' }), { '7': 'ended cancelled' });
  t.strictSame(
    past({
      JobStatus: 3,
      RemoveReason: 'The job attribute PeriodicRemove expression ... evaluated to TRUE',
      LastHoldReasonCode: 47,
    }),
    { '7': 'ended walltime' },
  );
});

t.test('HTCondor: recorded answers of 23.9 are read', async (t) => {
  t.strictSame(
    kinds(readQueue(printed(recorded('htcondor-23.9-q.json')))),
    { '7': 'ending', '8': 'running', '9': 'queued' },
    '3 lingers while its machine is cleaned up',
  );
  t.strictSame(kinds(readHistory(printed(recorded('htcondor-23.9-history.json')))), {
    '4': 'ended completed',
    '5': 'ended completed',
    '6': 'ended completed',
  });
  const listing = readQueue(printed(recorded('htcondor-23.9-q.json')));
  if (listing.kind === 'listed') t.match(listing.jobs.find(({ id }) => id === '8')?.state, { nodes: ['node1'] });
});

t.test('HTCondor: silence is an answer, a complaint is not; an eviction is a new life', async (t) => {
  t.strictSame(readQueue(printed('')), { kind: 'listed', jobs: [] });
  t.strictSame(readQueue(printed('[\n]\n')), { kind: 'listed', jobs: [] });
  t.equal(
    kinds(
      readQueue(
        printed('', 'Error: Extra Info: You probably saw this error because the condor_schedd is not running', 1),
      ),
    ),
    'failed',
  );
  t.equal(kinds(readQueue(printed('', '-- Failed to fetch ads from: <10.0.0.1:9618>'))), 'failed', 'with exit 0');
  const again = readQueue(printed(ad({ JobStatus: 1, NumJobStarts: 2 })));
  if (again.kind === 'listed') t.match(again.jobs[0], { restarts: 1, state: { reason: /evicted/ } });
  const { readSubmit, readCancel, render } = createHtcondor();
  t.strictSame(readSubmit(printed('42.0 - 42.0\n')), { kind: 'submitted', id: '42' });
  t.strictSame(readSubmit(printed('Submitting job(s).\n1 job(s) submitted to cluster 42.\n')), {
    kind: 'submitted',
    id: '42',
  });
  t.match(readSubmit(printed('', 'ERROR: Failed to parse command file (line 3).', 1)), { kind: 'refused' });
  t.equal(readCancel(printed("Couldn't find/remove all jobs in cluster 99\n", '', 1)), undefined);
  const { files } = render(job({ gpus: 1, cpus: 4, memMiB: 8000, account: 'physics', lines: ['+WantGlidein = True'] }));
  const text = script(files, 'job.sub');
  for (const line of [
    'executable = /home/alice/ff/block1/job.sh',
    'request_gpus = 1',
    'accounting_group = physics',
    '+WantGlidein = True',
    'allowed_execute_duration = 3600',
  ])
    t.ok(text.includes(`${line}\n`), line);
  t.match(text, /\nqueue 1\n$/);
  t.throws(() => render(job({ lines: ['queue 5000'] })), { message: /one job a block/ });
  t.throws(() => render(job({}, { nodes: 2 })), { message: /one machine/ });
});

t.test('Flux: every state and result has its meaning, and ids are decimal', async (t) => {
  const row = (state: string, result = '', code = '', urgency = '16', type = ''): unknown =>
    kinds(readJobs(printed(`7|ff-e-b|${state}|${result}|${code}|${urgency}|n1|${type}|\n`)));
  for (const [state, meaning] of Object.entries({
    NEW: 'queued',
    DEPEND: 'queued',
    PRIORITY: 'queued',
    SCHED: 'queued',
    RUN: 'running',
    CLEANUP: 'ending',
  }))
    t.strictSame(row(state), { '7': meaning }, state);
  for (const [result, cause] of Object.entries({
    COMPLETED: 'completed',
    FAILED: 'failed',
    CANCELED: 'cancelled',
    TIMEOUT: 'walltime',
  }))
    t.strictSame(row('INACTIVE', result), { '7': `ended ${cause}` }, result);
  t.equal(Object.keys(FLUX_STATES).length, 7);
  t.strictSame(row('SCHED', '', '', '0'), { '7': 'held' }, 'urgency 0');
  t.strictSame(row('INACTIVE', 'FAILED', '-128'), { '7': 'ended launchFailed' }, 'never started');
  t.strictSame(row('INACTIVE', 'FAILED', '', '16', 'node-failure'), { '7': 'ended nodeLost' });
  t.strictSame(row('INACTIVE', 'SPLENDID'), { '7': 'unknown' });
  t.strictSame(row('LIMBO'), { '7': 'unknown' });
  t.strictSame(kinds(readJobs(printed(recorded('flux-documented-jobs.txt')))), {
    [fluxId('ƒA5') ?? '']: 'running',
    [fluxId('ƒA6') ?? '']: 'queued',
    [fluxId('ƒA7') ?? '']: 'ended walltime',
    [fluxId('ƒA8') ?? '']: 'ended failed',
    [fluxId('ƒA9') ?? '']: 'ended cancelled',
  });
  t.equal(fluxId('ƒ2'), '1');
  t.equal(fluxId('f21'), '58', 'and without the letter that a locale lacks');
  t.equal(fluxId('42'), '42');
  t.equal(fluxId('no id'), undefined);
  t.strictSame(createFlux().readSubmit(printed('ƒ21\n')), { kind: 'submitted', id: '58' });
  t.strictSame(readJobs(printed('', 'flux-jobs: ERROR: JobID ƒA5 unknown\n', 1)), { kind: 'listed', jobs: [] });
  t.equal(kinds(readJobs(printed('', 'flux-jobs: ERROR: Unable to connect to Flux: ENOENT', 1))), 'failed');
  const text = script(createFlux().render(job({ queue: 'pbatch', account: 'bank' }, { nodes: 2, wallS: 1800 })).files);
  for (const line of ['--time-limit=1800s', '--queue=pbatch', '--bank=bank', '--nodes=2'])
    t.ok(text.includes(`#flux: ${line}\n`), line);
});

t.test('Kubernetes: jobs and pods together say what a block is', async (t) => {
  t.strictSame(kinds(readList(printed(recorded('kubernetes-documented-list.json')))), {
    'ff-1': 'running',
    'ff-2': 'queued',
    'ff-3': 'ended memory',
  });
  const list = (
    jobStatus: object,
    podStatus: object | undefined,
    more: { spec?: object; metadata?: object; podMetadata?: object; node?: string } = {},
  ): unknown => {
    const labels = { 'farfield.dev/job': 'ff-1' };
    const items = [
      { kind: 'Job', metadata: { name: 'ff-1', labels, ...more.metadata }, spec: more.spec ?? {}, status: jobStatus },
      ...(podStatus === undefined
        ? []
        : [
            {
              kind: 'Pod',
              metadata: { labels, ...more.podMetadata },
              spec: { nodeName: more.node ?? 'n1' },
              status: podStatus,
            },
          ]),
    ];
    const all = kinds(readList(printed(JSON.stringify({ items }))));
    return typeof all === 'string' ? all : all['ff-1'];
  };
  const condition = (type: string, reason: string): object => ({
    conditions: [{ type, status: 'True', reason, message: '' }],
  });
  const terminated = (reason: string, exitCode: number): object => ({
    phase: 'Failed',
    containerStatuses: [{ state: { terminated: { reason, exitCode } } }],
  });
  t.equal(list({}, undefined), 'queued');
  t.equal(list({}, { phase: 'Pending' }, { node: '' }), 'queued');
  t.equal(list({}, { phase: 'Pending' }), 'starting');
  t.equal(list({}, { phase: 'Running' }), 'running');
  t.equal(list({}, { phase: 'Running' }, { podMetadata: { deletionTimestamp: 'x' } }), 'ending');
  t.equal(list({}, { phase: 'Running' }, { metadata: { deletionTimestamp: 'x' } }), 'ending');
  t.equal(list({}, { phase: 'Unknown' }), 'unknown', 'its node is out of reach');
  t.equal(
    list({}, { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff' } } }] }),
    'held',
  );
  t.equal(list({}, undefined, { spec: { suspend: true } }), 'held');
  t.equal(list({}, terminated('Error', 1)), 'ending', 'until the job says so itself');
  t.equal(list(condition('Complete', ''), { phase: 'Succeeded' }), 'ended completed');
  t.equal(list(condition('Failed', 'DeadlineExceeded'), undefined), 'ended walltime');
  t.equal(list(condition('Failed', 'BackoffLimitExceeded'), terminated('OOMKilled', 137)), 'ended memory');
  t.equal(list(condition('Failed', 'BackoffLimitExceeded'), terminated('Error', 1)), 'ended failed');
  t.equal(list(condition('Failed', 'BackoffLimitExceeded'), { phase: 'Failed', reason: 'Evicted' }), 'ended preempted');
  t.equal(list(condition('Failed', 'BackoffLimitExceeded'), { phase: 'Failed', reason: 'NodeLost' }), 'ended nodeLost');
  t.equal(list(condition('Failed', 'BackoffLimitExceeded'), terminated('StartError', 128)), 'ended launchFailed');
  t.equal(kinds(readList(printed('', 'The connection to the server 10.0.0.1:6443 was refused', 1))), 'failed');
  t.equal(kinds(readList(printed('No resources found\n'))), 'failed');
});

t.test('Kubernetes: a job that exists already is the lost reply of its own submit', async (t) => {
  const { readSubmit, render } = createKubernetes({ kubernetes: { image: 'site/pilot:1', namespace: 'ff' } });
  const name = kubeName('ff-e-b');
  t.match(name, /^[a-z0-9-]{1,63}$/);
  t.not(kubeName('ff-e-B'), name, 'block ids differ by case');
  t.strictSame(readSubmit(printed(`job.batch/${name}\n`)), { kind: 'submitted', id: name });
  t.strictSame(
    readSubmit(
      printed(
        '',
        `Error from server (AlreadyExists): error when creating "job.json": jobs.batch "${name}" already exists`,
        1,
      ),
    ),
    { kind: 'submitted', id: name },
  );
  const manifest = JSON.parse(
    script(
      render(job({ gpus: 2, cpus: 8, kubernetes: { image: 'site/pilot:1', claims: { home: '/home' } } }, { nodes: 3 }))
        .files,
      'job.json',
    ),
  ) as Record<string, unknown>;
  t.match(manifest, {
    spec: {
      backoffLimit: 0,
      completions: 3,
      parallelism: 3,
      activeDeadlineSeconds: 3600,
      template: {
        spec: {
          restartPolicy: 'Never',
          automountServiceAccountToken: false,
          containers: [
            {
              image: 'site/pilot:1',
              resources: { limits: { cpu: '8', 'nvidia.com/gpu': '2' } },
              volumeMounts: [{ name: 'home', mountPath: '/home' }],
            },
          ],
        },
      },
    },
  });
  t.throws(() => render(job({})), { message: /must name an image/ });
});
