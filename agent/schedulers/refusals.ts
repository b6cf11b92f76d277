/**
 * What a refused submit means: whether the same job can be taken later, and whose move it is.
 *
 * Invariants
 *  N1 Only words that the schedulers print for a name or a limit that somebody must change are `forGood`: the endpoint pauses on
 *     one of them, so a guess would stop a site that is well.
 *  N2 A limit on how much may be queued, and a server that is busy or away, are `forNow`: waiting mends them.
 *  N3 Anything else is `unsaid`, and is tried as often as a block that dies at its start.
 */

export interface Refusal {
  readonly lasts: 'forGood' | 'forNow' | 'unsaid';
  /** What to do next; empty where waiting is all there is to do. */
  readonly remedy: string;
}

interface Rule {
  readonly words: RegExp;
  readonly lasts: 'forGood' | 'forNow';
  readonly remedy: string;
}

const set = (key: string, hint: string): string =>
  `set blocks.batch.${key} of config.yaml to one that you may use${hint}`;
const ACCOUNT = set('account', ' (Slurm: sacctmgr show assoc user=$USER format=account,partition,qos)');
const QUEUE = set('queue', ' (sinfo -s, qstat -Q, bqueues, qconf -sql)');
const SMALLER = 'ask for less in blocks.batch (wallS, nodes, cpus, memMiB, gpus), or for another queue';

/** The first that fits: what waits comes before what does not, since limits are told beside a sentence on policy. */
const RULES: readonly Rule[] = [
  // Slurm names the limit on a line of its own, before `Job violates accounting/QOS policy`.
  { words: /(QOS|Assoc)\w*(Submit|MaxJobs|GrpJobs)\w*/, lasts: 'forNow', remedy: '' },
  {
    words:
      /temporarily unable|not usable now|partition not available|node not available|would exceed .*(limit|queued)/i,
    lasts: 'forNow',
    remedy: '',
  },
  {
    words: /job[- ]limit|too many (jobs|pending)|pending job threshold|maximum number of jobs|busy/i,
    lasts: 'forNow',
    remedy: '',
  },
  {
    words:
      /invalid account|account\/partition combination|unknown project|no such project|not a valid (account|project)/i,
    lasts: 'forGood',
    remedy: ACCOUNT,
  },
  {
    words:
      /invalid partition|unknown queue|no such queue|queue (name )?.*does not exist|cannot use the queue|permitted to use this partition/i,
    lasts: 'forGood',
    remedy: QUEUE,
  },
  { words: /invalid qos/i, lasts: 'forGood', remedy: set('qos', ' (Slurm: sacctmgr show qos format=name)') },
  {
    words: /invalid reservation|reservation is invalid|access denied to requested reservation/i,
    lasts: 'forGood',
    remedy: set('reservation', ', or take it out (Slurm: scontrol show reservation)'),
  },
  {
    words: /invalid feature|invalid constraint/i,
    lasts: 'forGood',
    remedy: set('constraint', ' (Slurm: sinfo -o "%P %f")'),
  },
  {
    words: /invalid (generic resource|gres|trackable)/i,
    lasts: 'forGood',
    remedy: set('gres or gpus', ' (Slurm: sinfo -o "%P %G")'),
  },
  {
    // Slurm's sentence on policy alone, without the limit's name, may mean a full queue as well: unsaid.
    words:
      /time limit is invalid|more processors requested|node count specification|node configuration is not available|memory (required|specification)|violates queue|exceeds queue|QOSMax\w*|AssocMax\w*|resource[_ ]limit/i,
    lasts: 'forGood',
    remedy: SMALLER,
  },
  {
    words: /access\/permission denied|unauthorized request|invalid user id|user not found|not authorized/i,
    lasts: 'forGood',
    remedy: 'ask the site whether this Unix account may submit jobs',
  },
];

export function judgeRefusal(why: string): Refusal {
  const { lasts, remedy } = RULES.find(({ words }) => words.test(why)) ?? { lasts: 'unsaid', remedy: '' };
  return { lasts, remedy };
}

/** The remedies' last step: what makes the endpoint try again, after a job that shows it. */
export const THEN_RESUME =
  'then `farfield endpoint restart`, `farfield endpoint test-job` and `farfield endpoint resume`';
