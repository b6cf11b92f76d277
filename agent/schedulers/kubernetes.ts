/**
 * Kubernetes jobs by kubectl: one Job a block, a pod a node.
 *
 * Invariants
 *  K1 One listing by label answers for all blocks; pods are never read one by one.
 *  K2 A job never starts a pod again (backoffLimit 0): a new life is the agent's to decide.
 *  K3 The job's name is derived from the block's: creating it twice is refused by the cluster itself, which is how a lost
 *     reply is settled.
 */
import {
  asArray,
  asNumber,
  asObject,
  asText,
  type Driver,
  failedListing,
  type JobSpec,
  type Json,
  type Listing,
  type Output,
  parseJson,
  type SeenJob,
  type Source,
  withoutId,
} from './driver.ts';
import { BATCH_DEFAULTS, type BatchConfig } from './options.ts';
import type { Ended, ListedState } from './scheduler.ts';
import { jobScript, refuse, refuseOptions } from './script.ts';
import { directiveWord, said } from './text.ts';

const LABEL = 'app.kubernetes.io/managed-by';
const JOB_LABEL = 'farfield.dev/job';
const NAME_NOTE = 'farfield.dev/name';
/** `ff-` and two digits a character fit a label of 63. */
const MAX_NAME = 30;
/** Long enough to be read by an agent that was away over a weekend. */
const KEEP_S = 3 * 86_400;

/** Waiting reasons of a container that will not go away by themselves. */
const STUCK = [
  'ImagePullBackOff',
  'ErrImagePull',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'CrashLoopBackOff',
];

/** Lower case only, and the block's id is not: hexadecimal keeps it unique. */
export function kubeName(name: string): string {
  return `ff-${Buffer.from(name).toString('hex')}`;
}

function containers(pod: Json): Json[] {
  return asArray(asObject(pod.status).containerStatuses).map(asObject);
}

function condition(of: Json, type: string): Json | undefined {
  const found = asArray(asObject(of.status).conditions).map(asObject);
  return found.find((one) => one.type === type && one.status === 'True');
}

function podEnd(pod: Json): Ended {
  const status = asObject(pod.status);
  const reason = asText(status.reason);
  const ends = containers(pod).map((one) => asObject(asObject(one.state).terminated));
  const disruption = asText(condition(pod, 'DisruptionTarget')?.reason);
  const code = ends.map((end) => asNumber(end.exitCode) ?? 0).find((one) => one !== 0) ?? 0;
  const why = [reason, disruption, asText(status.message), ...ends.map((end) => asText(end.reason)), `exit ${code}`]
    .filter(Boolean)
    .join(', ');
  const of = (cause: Ended['cause']): Ended => ({ kind: 'ended', cause, why });
  if (ends.some((end) => end.reason === 'OOMKilled')) return of('memory');
  if (reason === 'DeadlineExceeded') return of('walltime');
  if (
    reason === 'NodeLost' ||
    reason === 'NodeShutdown' ||
    reason === 'Shutdown' ||
    disruption === 'DeletionByTaintManager' ||
    disruption === 'DeletionByPodGC'
  )
    return of('nodeLost');
  if (reason === 'Evicted' || /^(PreemptionByScheduler|EvictionByEvictionAPI|TerminationByKubelet)$/.test(disruption))
    return of('preempted');
  if (ends.some((end) => end.reason === 'ContainerCannotRun' || end.reason === 'StartError')) return of('launchFailed');
  return of(status.phase === 'Succeeded' ? 'completed' : 'failed');
}

function podState(pod: Json): ListedState {
  const status = asObject(pod.status);
  const spec = asObject(pod.spec);
  const node = asText(spec.nodeName);
  const waiting = containers(pod)
    .map((one) => asObject(asObject(one.state).waiting))
    .find((one) => STUCK.includes(asText(one.reason)));
  switch (asText(status.phase)) {
    case 'Succeeded':
    case 'Failed':
      return podEnd(pod);
    case 'Running':
    case 'Pending':
      break;
    default:
      return { kind: 'unknown', why: `Kubernetes says ${asText(status.phase) || 'nothing'}: its node is out of reach` };
  }
  if (asObject(pod.metadata).deletionTimestamp !== undefined) return { kind: 'ending', reason: 'it is being deleted' };
  if (waiting !== undefined) return { kind: 'held', reason: `${asText(waiting.reason)}: ${asText(waiting.message)}` };
  if (status.phase === 'Running') return { kind: 'running', nodes: [node] };
  if (node !== '') return { kind: 'starting', nodes: [node] };
  const scheduled = asArray(status.conditions)
    .map(asObject)
    .find((one) => one.type === 'PodScheduled');
  return { kind: 'queued', reason: asText(scheduled?.message) || 'it waits for a node' };
}

function jobState(job: Json, pods: readonly Json[]): ListedState {
  const failed = condition(job, 'Failed');
  const states = pods.map(podState);
  const ends = states.filter((state) => state.kind === 'ended' && state.cause !== 'completed');
  if (condition(job, 'Complete') !== undefined) return { kind: 'ended', cause: 'completed', why: 'Complete' };
  if (failed !== undefined) {
    if (failed.reason === 'DeadlineExceeded') return { kind: 'ended', cause: 'walltime', why: asText(failed.message) };
    return ends[0] ?? { kind: 'ended', cause: 'failed', why: `${asText(failed.reason)}: ${asText(failed.message)}` };
  }
  if (asObject(job.metadata).deletionTimestamp !== undefined) return { kind: 'ending', reason: 'it is being deleted' };
  if (
    condition(job, 'FailureTarget') !== undefined ||
    condition(job, 'SuccessCriteriaMet') !== undefined ||
    ends.length > 0
  )
    return { kind: 'ending', reason: 'its pods are ending' };
  if (asObject(job.spec).suspend === true)
    return { kind: 'held', reason: 'the job is suspended: its queue has not let it in' };
  // The most telling first: one stuck pod is what somebody must mend, one that runs is life.
  for (const kind of ['held', 'unknown', 'running', 'starting', 'ending'] as const) {
    const same = states.filter((state) => state.kind === kind);
    const [first] = same;
    if (first === undefined) continue;
    if (kind !== 'running' && kind !== 'starting') return first;
    return { kind, nodes: same.flatMap((state) => ('nodes' in state ? state.nodes : [])) };
  }
  return states[0] ?? { kind: 'queued', reason: 'its pods are not there yet' };
}

export function readList(output: Output): Listing {
  if (output.code !== 0) return failedListing(output);
  const value = asObject(parseJson(output.stdout));
  if (!Array.isArray(value.items)) return { kind: 'failed', why: `no JSON of jobs: ${said(output.stdout)}` };
  const items = asArray(value.items).map(asObject);
  const label = (item: Json): string => asText(asObject(asObject(item.metadata).labels)[JOB_LABEL]);
  const jobs = items
    .filter((item) => item.kind === 'Job')
    .map((job): SeenJob => {
      const metadata = asObject(job.metadata);
      const pods = items.filter((item) => item.kind === 'Pod' && label(item) === label(job));
      return {
        id: asText(metadata.name),
        name: asText(asObject(metadata.annotations)[NAME_NOTE]),
        state: jobState(job, pods),
      };
    });
  return { kind: 'listed', jobs };
}

function manifest(spec: JobSpec, script: string): Json {
  refuseOptions('Kubernetes', spec, {
    account: 'name a queue of Kueue, or a namespace',
    qos: 'leave it out',
    constraint: 'use kubernetes.nodeSelector',
    reservation: 'leave it out',
    gres: 'use gpus, and kubernetes.gpuResource',
    lines: 'a Job has no lines',
    exclusive: 'leave it out',
    parallelEnvironment: 'leave it out',
  });
  const { options, nodes } = spec;
  const kube = options.kubernetes;
  if (kube === undefined) refuse('kubernetes must name an image');
  if (spec.name.length > MAX_NAME) refuse('a job name of more than 30 characters');
  const name = kubeName(spec.name);
  const labels = { [LABEL]: 'farfield', [JOB_LABEL]: name };
  const amounts = {
    ...(options.cpus === undefined ? {} : { cpu: String(options.cpus) }),
    ...(options.memMiB === undefined ? {} : { memory: `${options.memMiB}Mi` }),
    ...(options.gpus === undefined ? {} : { [kube.gpuResource ?? 'nvidia.com/gpu']: String(options.gpus) }),
  };
  const claims = Object.entries(kube.claims ?? {});
  const user = {
    ...(kube.uid === undefined ? {} : { runAsUser: kube.uid }),
    ...(kube.gid === undefined ? {} : { runAsGroup: kube.gid, fsGroup: kube.gid }),
  };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name,
      labels: {
        ...labels,
        ...(options.queue === undefined ? {} : { 'kueue.x-k8s.io/queue-name': directiveWord('queue', options.queue) }),
      },
      annotations: { [NAME_NOTE]: spec.name, 'farfield.dev/comment': spec.comment },
    },
    spec: {
      backoffLimit: 0,
      completions: nodes,
      parallelism: nodes,
      activeDeadlineSeconds: spec.wallS,
      ttlSecondsAfterFinished: KEEP_S,
      template: {
        metadata: { labels },
        spec: {
          restartPolicy: 'Never',
          terminationGracePeriodSeconds: options.warnS ?? BATCH_DEFAULTS.warnS,
          // A pilot has no business with the cluster's API.
          automountServiceAccountToken: false,
          ...(kube.serviceAccount === undefined ? {} : { serviceAccountName: kube.serviceAccount }),
          ...(kube.nodeSelector === undefined ? {} : { nodeSelector: kube.nodeSelector }),
          ...(Object.keys(user).length === 0 ? {} : { securityContext: user }),
          containers: [
            {
              name: 'pilot',
              image: kube.image ?? '',
              command: ['/bin/bash', '-c', script],
              resources: { requests: amounts, limits: amounts },
              volumeMounts: claims.map(([claim, path]) => ({ name: claim, mountPath: path })),
            },
          ],
          volumes: claims.map(([claim]) => ({ name: claim, persistentVolumeClaim: { claimName: claim } })),
        },
      },
    },
  };
}

export function createKubernetes(options: Pick<BatchConfig, 'kubernetes'> = {}): Driver {
  const kubectl = [
    'kubectl',
    ...(options.kubernetes?.namespace === undefined ? [] : [`--namespace=${options.kubernetes.namespace}`]),
  ] as [string, ...string[]];
  const list = (selector: string): [string, ...string[]] => [
    ...kubectl,
    'get',
    'jobs,pods',
    `--selector=${selector}`,
    '--output=json',
  ];
  const source: Source = {
    label: 'kubectl get',
    batch: Number.POSITIVE_INFINITY,
    command: () => ({ argv: list(`${LABEL}=farfield`) }),
    read: readList,
  };
  return {
    name: 'kubernetes',
    passEnv: ['KUBECONFIG', 'KUBERNETES_SERVICE_HOST', 'KUBERNETES_SERVICE_PORT'],
    render(spec) {
      const several: JobSpec = { ...spec, nodes: 1 };
      const script = jobScript(several, {
        directives: [],
        directive: /^\0/,
        jobId: 'HOSTNAME',
        launchers: ['none'],
      });
      return {
        files: [{ name: 'job.json', executable: false, text: `${JSON.stringify(manifest(spec, script), null, 2)}\n` }],
      };
    },
    submit: (_file, path) => ({ argv: [...kubectl, 'create', `--filename=${path}`, '--output=name'] }),
    readSubmit(output) {
      const id =
        /^job\.batch\/(\S+)$/m.exec(output.stdout)?.[1] ??
        /jobs\.batch "([^"]+)" already exists/.exec(output.stderr)?.[1];
      return id === undefined ? withoutId(output) : { kind: 'submitted', id };
    },
    sources: [source],
    finders: [{ command: (name) => ({ argv: list(`${JOB_LABEL}=${kubeName(name)}`) }), read: readList }],
    cancel: (ids) => ({ argv: [...kubectl, 'delete', 'jobs', ...ids, '--ignore-not-found', '--wait=false'] }),
    readCancel: ({ code, stdout, stderr }) => (code === 0 ? undefined : said(stderr, stdout)),
  };
}
