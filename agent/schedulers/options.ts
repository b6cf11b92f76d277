/**
 * What a site sets for its batch jobs: `blocks.batch` of config.yaml. Whatever a driver cannot say is refused when the
 * configuration is read, not left out of the job.
 */
import { type Static, Type as T } from 'typebox';

const closed = { additionalProperties: false } as const;
const Name = T.String({ minLength: 1, maxLength: 256 });
const Line = T.String({ minLength: 1, maxLength: 4096 });
const Labels = T.Record(
  T.String({ pattern: '^[A-Za-z0-9]([A-Za-z0-9_./-]*[A-Za-z0-9])?$' }),
  T.String({ maxLength: 256 }),
);

export const BATCH_SCHEDULERS = ['slurm', 'pbs', 'lsf', 'gridengine', 'htcondor', 'flux', 'kubernetes'] as const;
export type BatchSchedulerName = (typeof BATCH_SCHEDULERS)[number];

export const LAUNCHERS = ['none', 'srun', 'mpiexec', 'jsrun', 'aprun', 'flux', 'ssh'] as const;
export type Launcher = (typeof LAUNCHERS)[number];

export const BatchShape = T.Object(
  {
    nodes: T.Optional(T.Integer({ minimum: 1, maximum: 10_000, description: 'nodes of one block' })),
    wallS: T.Optional(T.Integer({ minimum: 60, maximum: 31_536_000, description: 'walltime of one block' })),
    account: T.Optional(Name),
    queue: T.Optional(T.String({ ...Name, description: 'partition, queue, or class' })),
    qos: T.Optional(Name),
    constraint: T.Optional(T.String({ ...Name, description: 'node features: Slurm, Flux; LSF: a select string' })),
    reservation: T.Optional(Name),
    cpus: T.Optional(T.Integer({ minimum: 1, maximum: 100_000, description: 'cores on each node' })),
    memMiB: T.Optional(T.Integer({ minimum: 1, description: 'memory on each node' })),
    gpus: T.Optional(T.Integer({ minimum: 1, maximum: 1024, description: 'GPUs on each node' })),
    gres: T.Optional(T.String({ ...Name, description: 'Slurm: instead of gpus, as in gpu:a100:4' })),
    exclusive: T.Optional(T.Boolean({ description: 'whole nodes' })),
    lines: T.Optional(
      T.Array(Line, {
        maxItems: 64,
        description: 'further options for the scheduler, without the prefix of its directives',
      }),
    ),
    setup: T.Optional(T.Array(Line, { maxItems: 256, description: 'lines of bash before the pilot starts' })),
    launcher: T.Optional(T.Enum(LAUNCHERS, { description: 'how one pilot is started on every node; none: one node' })),
    launcherArgs: T.Optional(
      T.Array(T.String({ maxLength: 1024 }), {
        maxItems: 64,
        description: 'instead of the usual arguments; {nodes} stands for their number',
      }),
    ),
    warnS: T.Optional(
      T.Integer({ minimum: 10, maximum: 3600, description: 'how long before its walltime a block hands work back' }),
    ),
    parallelEnvironment: T.Optional(T.String({ ...Name, description: 'Grid Engine: the -pe of more than one slot' })),
    kubernetes: T.Optional(
      T.Object(
        {
          namespace: T.Optional(Name),
          image: Name,
          serviceAccount: T.Optional(Name),
          nodeSelector: T.Optional(Labels),
          uid: T.Optional(T.Integer({ minimum: 1 })),
          gid: T.Optional(T.Integer({ minimum: 1 })),
          claims: T.Optional(
            T.Record(T.String({ pattern: '^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$' }), T.String({ pattern: '^/' }), {
              description: 'persistent volume claim: where it is mounted; the endpoint folder must be on one',
            }),
          ),
          gpuResource: T.Optional(Name),
        },
        closed,
      ),
    ),
    commandPath: T.Optional(T.String({ maxLength: 4096, description: "PATH of the scheduler's commands" })),
    commandS: T.Optional(T.Integer({ minimum: 1, maximum: 600, description: 'time-out of one command' })),
    statusS: T.Optional(
      T.Integer({ minimum: 5, maximum: 3600, description: 'one status command this often while jobs live' }),
    ),
    submitsPerHour: T.Optional(T.Integer({ minimum: 1, maximum: 10_000 })),
  },
  { ...closed, description: 'jobs of a batch scheduler' },
);

export type BatchConfig = Static<typeof BatchShape>;

/** What of it is in the job itself. */
export type SchedulerOptions = Omit<
  BatchConfig,
  'nodes' | 'wallS' | 'commandPath' | 'commandS' | 'statusS' | 'submitsPerHour'
>;

export const BATCH_DEFAULTS = {
  nodes: 1,
  /** Short enough for back-fill almost everywhere, long enough that the start is small beside it. */
  wallS: 3600,
  /** Sites that install elsewhere name it: nothing of the agent's own environment is taken. */
  commandPath: '/usr/local/bin:/usr/bin:/bin',
  /** A controller under load answers within it; one that hangs does not hold the agent up for long. */
  commandS: 30,
  /** Pilots' links report life within a second; the scheduler is asked about the queue only. */
  statusS: 30,
  /** A site that restarts blocks more often than this has another problem. */
  submitsPerHour: 60,
  /** A task that runs now may end, and a result be written. */
  warnS: 60,
} as const;
