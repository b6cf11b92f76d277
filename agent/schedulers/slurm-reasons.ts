/** Why a job of Slurm waits, in a sentence for those who wait with it. What is not here is shown as Slurm says it. */

const REASONS: Readonly<Record<string, string>> = {
  None: 'the scheduler has not looked at it yet',
  Priority: 'other jobs come first',
  Resources: 'it is next, and waits for nodes to become free',
  Dependency: 'it waits for another job',
  DependencyNeverSatisfied: 'it waits for a job that failed, and will never start',
  BeginTime: 'it may not begin yet (a requeued job waits some minutes)',
  JobHeldUser: 'it is held by its owner',
  JobHeldAdmin: "it is held by the site's admins",
  Reservation: 'it waits for its reservation to begin',
  ReservationDeleted: 'its reservation was deleted',
  Licenses: 'it waits for a licence',
  PartitionDown: 'the partition is down',
  PartitionInactive: 'the partition takes no jobs now',
  PartitionNodeLimit: 'it asks for more nodes than the partition allows',
  PartitionTimeLimit: 'it asks for more time than the partition allows',
  PartitionConfig: 'the partition cannot give what it asks for',
  AccountNotAllowed: 'the account may not use this partition',
  QOSNotAllowed: 'the quality of service may not be used here',
  InvalidAccount: 'the account does not exist, or is not yours',
  InvalidQOS: 'the quality of service does not exist, or is not yours',
  BadConstraints: 'no node can meet its constraints',
  NodeDown: 'a node that it needs is down',
  ReqNodeNotAvail: 'a node that it needs is not available (down, drained, or reserved)',
  FrontEndDown: 'no front end is up',
  JobArrayTaskLimit: "the array's own limit of running tasks is reached",
  AssocGrpCpuLimit: 'the account uses all its cores',
  AssocGrpCPUMinutesLimit: "the account's core hours are used up",
  AssocGrpCPURunMinutesLimit: "the account's running jobs hold all its core hours",
  AssocGrpGRES: 'the account uses all its GPUs',
  AssocGrpNodeLimit: 'the account uses all its nodes',
  AssocGrpJobsLimit: 'the account has as many jobs as it may',
  AssocMaxJobsLimit: 'you have as many running jobs as you may',
  AssocMaxWallDurationPerJobLimit: 'it asks for more time than the account allows',
  QOSGrpNodeLimit: 'the quality of service has no more nodes now',
  QOSGrpCpuLimit: 'the quality of service has no more cores now',
  QOSMaxJobsPerUserLimit: 'you have as many running jobs as this quality of service allows',
  QOSMaxNodePerUserLimit: 'you hold as many nodes as this quality of service allows',
  QOSMaxGRESPerUser: 'you hold as many GPUs as this quality of service allows',
  QOSMaxWallDurationPerJobLimit: 'it asks for more time than the quality of service allows',
  Cleaning: 'its former run is being cleaned up',
  Prolog: 'the site prepares its nodes',
  launch_failed_requeued_held: 'it could not be started and was held',
};

/** Held although the state says PENDING: only its owner or an admin makes it go on. */
const HELD = new Set(['JobHeldUser', 'JobHeldAdmin', 'launch failed requeued held', 'launch_failed_requeued_held']);

export function isHeldReason(reason: string): boolean {
  return HELD.has(reason);
}

export function slurmReason(reason: string): string {
  // `ReqNodeNotAvail, UnavailableNodes:node[3-9]`: the rest may hold blanks and commas.
  const word = /^[A-Za-z_]+/.exec(reason)?.[0] ?? '';
  const sentence = REASONS[reason.replaceAll(' ', '_')] ?? REASONS[word];
  return sentence === undefined ? reason : `${sentence} (${reason})`;
}

export const SLURM_REASONS: readonly string[] = Object.keys(REASONS);
