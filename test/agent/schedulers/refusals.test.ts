/** What schedulers print when they take no job, and what waiting is good for. */
import t from 'tap';
import { judgeRefusal } from '../../../agent/schedulers/refusals.ts';

const FAILED = 'sbatch: error: Batch job submission failed: ';
const FOR_GOOD: readonly (readonly [string, RegExp])[] = [
  [`${FAILED}Invalid account or account/partition combination specified`, /batch\.account/],
  [`sbatch: error: invalid partition specified: gpux | ${FAILED}Invalid partition name specified`, /batch\.queue/],
  [`${FAILED}Invalid qos specification`, /batch\.qos/],
  [`${FAILED}Requested reservation is invalid`, /batch\.reservation/],
  [`${FAILED}Invalid feature specification`, /batch\.constraint/],
  [`${FAILED}Invalid generic resource (gres) specification`, /gres/],
  [`${FAILED}Requested node configuration is not available`, /ask for less/],
  [`${FAILED}Requested time limit is invalid (missing or exceeds some limit)`, /ask for less/],
  [
    `sbatch: error: QOSMaxWallDurationPerJobLimit | ${FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)`,
    /ask for less/,
  ],
  [`${FAILED}User's group not permitted to use this partition`, /batch\.queue/],
  [`${FAILED}Access/permission denied`, /may submit/],
  ['qsub: Unknown queue', /batch\.queue/],
  ['qsub: Unauthorized Request', /may submit/],
  ['qsub: Job exceeds queue and/or server resource limits', /ask for less/],
  ['nosuch: No such queue. Job not submitted.', /batch\.queue/],
  ['Unable to run job: Job was rejected because job requests unknown queue "x". | Exiting.', /batch\.queue/],
];
const FOR_NOW = [
  `sbatch: error: QOSMaxSubmitJobPerUserLimit | ${FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)`,
  `sbatch: error: AssocMaxSubmitJobLimit | ${FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)`,
  'sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying',
  `${FAILED}Requested reservation not usable now`,
  `${FAILED}Required partition not available (inactive or drain)`,
  'qsub: would exceed complex’s per-user limit of jobs in Q state',
  'User <alice>: Pending job threshold reached. Retrying in 60 seconds...',
];

t.test('a name or a limit that somebody must change is refused for good, and says what to change', async (t) => {
  for (const [words, remedy] of FOR_GOOD) {
    const { lasts, remedy: told } = judgeRefusal(words);
    t.equal(lasts, 'forGood', words);
    t.match(told, remedy, words);
  }
});

t.test('a full queue and a server that is busy are a matter of waiting', async (t) => {
  for (const words of FOR_NOW) t.equal(judgeRefusal(words).lasts, 'forNow', words);
});

t.test('words that are in no table stop nobody at once', async (t) => {
  const unknown = [
    'error: you are not allowed to use account x',
    'Request aborted by esub.',
    'it said nothing',
    `${FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)`,
  ];
  for (const words of unknown) t.equal(judgeRefusal(words).lasts, 'unsaid', words);
});
