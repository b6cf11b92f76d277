/**
 * `farfield endpoint usage`: who used what, from the ledger's own records, beside what the scheduler charges for the same blocks.
 *
 * Invariants
 *  W1 The total is the sum of its rows, and the rows of any two groupings have the same total.
 *  W2 A lease is its share of its node (agent/admission/usage.ts, U3), so a block's job costs at least what its calls used. The
 *     difference is shown, and is the block's idle time: start-up, waiting for work, slots without any.
 *  W3 What the scheduler says and what the agent measured are never mixed in one number: `by` names the source.
 *  W4 CSV is RFC 4180, and no cell begins like a formula: names in it come from strangers' manifests.
 */
import { readFileSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, usage, writeLine } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { csvLine, tableLines } from '#base/table.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { readSpentKey, SPENT } from '../admission/usage.ts';
import { readAgentConfig } from '../config.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { asObject, type Listing, parseJson } from '../schedulers/driver.ts';
import { chooseFolder, type FolderOptions, parseUntil } from './common.ts';
import { nowS, show, withFolder } from './show.ts';
import { type SiteScheduler, siteScheduler } from './site.ts';

const DAY_S = 86_400;

const COLUMNS = ['user', 'account', 'model', 'function', 'day', 'block', 'key'] as const;
type Column = (typeof COLUMNS)[number];

/** One row of the account, before it is grouped. Hours with fractions. */
export interface Spent extends Readonly<Record<Column, string>> {
  readonly calls: number;
  readonly nodeHours: number;
  readonly coreHours: number;
  readonly gpuHours: number;
  /** Predictions, as runners claim them. */
  readonly rows: number;
}
const MEASURES = ['calls', 'nodeHours', 'coreHours', 'gpuHours', 'rows'] as const;
type Measures = Record<(typeof MEASURES)[number], number>;

export interface UsageRow extends Measures {
  readonly of: readonly string[];
}

/** W1: rows by these columns, largest first, and their sum. */
export function groupUsage(rows: readonly Spent[], by: readonly Column[]): { rows: UsageRow[]; total: Measures } {
  const groups = new Map<string, UsageRow & Measures>();
  const total: Measures = { calls: 0, nodeHours: 0, coreHours: 0, gpuHours: 0, rows: 0 };
  for (const row of rows) {
    const of = by.map((column) => row[column]);
    const key = JSON.stringify(of);
    const group = groups.get(key) ?? { of, calls: 0, nodeHours: 0, coreHours: 0, gpuHours: 0, rows: 0 };
    for (const measure of MEASURES) {
      group[measure] += row[measure];
      total[measure] += row[measure];
    }
    groups.set(key, group);
  }
  return { rows: [...groups.values()].sort((a, b) => b.nodeHours - a.nodeHours || b.calls - a.calls), total };
}

/** The ledger's account between two days, both included. The agent may be running: this only reads. */
export function readSpent(ledger: string, account: string, fromDay: number, toDay: number): Spent[] {
  let db: DatabaseSync;
  try {
    statSync(ledger);
    db = new DatabaseSync(ledger, { readOnly: true });
  } catch (cause) {
    throw new FarfieldError('E_NOT_FOUND', `there is no ledger at ${ledger}: this endpoint has not run yet`, { cause });
  }
  try {
    const found = new Map<string, Record<Column, string> & Measures>();
    const stored = db.prepare("select key, hours from usage where key like 'spent/%'").all();
    for (const { key: text, hours: value } of stored as { key: string; hours: number }[]) {
      const read = readSpentKey(text);
      if (read === undefined || read.key[0] < fromDay || read.key[0] > toDay) continue;
      const [day, block, key, user, own, fn, model] = read.key;
      const id = text.slice(SPENT.length, text.lastIndexOf('/'));
      const row = found.get(id) ?? {
        ...{ day: dayOf(day), block, key, user, account: own === '' ? account : own, function: fn, model },
        ...{ calls: 0, nodeHours: 0, coreHours: 0, gpuHours: 0, rows: 0 },
      };
      if (read.measure === 'calls') row.calls += value;
      else if (read.measure === 'nodeS') row.nodeHours += value / 3600;
      else if (read.measure === 'coreS') row.coreHours += value / 3600;
      else if (read.measure === 'gpuS') row.gpuHours += value / 3600;
      else if (read.measure === 'rows') row.rows += value;
      found.set(id, row);
    }
    return [...found.values()];
  } finally {
    db.close();
  }
}

const dayOf = (day: number): string => new Date(day * DAY_S * 1000).toISOString().slice(0, 10);

/** One block's job, from the audit log. */
export interface Job {
  readonly block: string;
  readonly job: string;
  readonly account: string;
  readonly nodes: number;
  readonly submittedS: number;
  readonly endedS: number | undefined;
}

/** Jobs submitted between two times, oldest first. A torn or foreign line is passed over. */
export function readJobs(audit: string, fromS: number, toS: number): Job[] {
  const jobs = new Map<string, Job>();
  for (const line of auditLines(audit)) {
    const { event, at, job, block, nodes, account } = asObject(parseJson(line));
    const atS = Date.parse(String(at)) / 1000;
    if (typeof job !== 'string' || Number.isNaN(atS)) continue;
    const known = jobs.get(job);
    if (event === 'block-submitted' && typeof block === 'string' && atS >= fromS && atS <= toS)
      jobs.set(job, {
        ...{ block, job, nodes: Number(nodes ?? 1), account: typeof account === 'string' ? account : '' },
        ...{ submittedS: atS, endedS: undefined },
      });
    else if (event === 'block-ended' && known !== undefined) jobs.set(job, { ...known, endedS: atS });
  }
  return [...jobs.values()];
}

function auditLines(path: string): string[] {
  const files: string[] = [];
  // As agent/audit.ts rotates: .1 is the youngest of the old ones.
  for (let k = 0; k <= 100; k++) {
    const file = k === 0 ? path : `${path}.${k}`;
    if (statSync(file, { throwIfNoEntry: false }) === undefined) break;
    files.unshift(file);
  }
  return files.flatMap((file) => readFileSync(file, 'utf8').split('\n'));
}

/** A job beside what its calls used (W2). */
export interface JobRow {
  readonly block: string;
  readonly job: string;
  readonly account: string;
  readonly nodes: number;
  /** Undefined: nobody can say how long it ran. */
  readonly elapsedS: number | undefined;
  /** Whose word that is (W3). */
  readonly by: string;
  readonly nodeHours: number | undefined;
  readonly usedNodeHours: number;
  /** nodeHours - usedNodeHours. */
  readonly idleNodeHours: number | undefined;
}

/** `ran`: seconds by job id, as the scheduler's accounting has them. */
export function compareJobs(
  jobs: readonly Job[],
  spent: readonly Spent[],
  ran: ReadonlyMap<string, number>,
  source: string,
): JobRow[] {
  const used = new Map<string, number>();
  for (const { block, nodeHours } of spent) used.set(block, (used.get(block) ?? 0) + nodeHours);
  return jobs.map(({ block, job, account, nodes, submittedS, endedS }) => {
    const charged = ran.get(job);
    const elapsedS = charged ?? (endedS === undefined ? undefined : endedS - submittedS);
    const by = charged !== undefined ? source : endedS === undefined ? 'not over' : 'agent (from submit to end)';
    const nodeHours = elapsedS === undefined ? undefined : (elapsedS * nodes) / 3600;
    const usedNodeHours = used.get(block) ?? 0;
    const idleNodeHours = nodeHours === undefined ? undefined : nodeHours - usedNodeHours;
    return { block, job, account, nodes, elapsedS, by, nodeHours, usedNodeHours, idleNodeHours };
  });
}

/** Asks the accounting in as few commands as it takes; what it does not know or say is missing from the answer. */
export async function askAccounting(
  site: Pick<SiteScheduler, 'driver' | 'run'>,
  ids: readonly string[],
): Promise<{ readonly ran: Map<string, number>; readonly source: string; readonly problem?: string }> {
  const { accounting, sources } = site.driver;
  const ran = new Map<string, number>();
  let problem: string | undefined;
  let label = accounting?.label ?? site.driver.name;
  // Accounting stands behind what is live, so the last source knows most.
  for (const source of accounting === undefined ? [...sources].reverse() : [accounting]) {
    const left = ids.filter((id) => !ran.has(id));
    for (let k = 0; k < left.length; k += source.batch) {
      const some = left.slice(k, k + source.batch);
      const outcome = await site.run(source.command(some));
      const listing: Listing =
        outcome.kind === 'done' ? source.read(outcome.output, some) : { kind: 'failed', why: outcome.why };
      if (listing.kind === 'failed') {
        problem ??= `${source.label}: ${listing.why}`;
        break;
      }
      for (const { id, ranS } of listing.jobs) if (ranS !== undefined) ran.set(id, ranS);
      if (listing.jobs.some(({ ranS }) => ranS !== undefined)) label = source.label;
    }
  }
  return { ran, source: label, ...(problem === undefined ? {} : { problem }) };
}

/** Of an hour: a millisecond is 3e-7, and sums of rounded rows must still show their total. */
const rounded = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : Math.round(value * 1e9) / 1e9;

interface UsageOptions extends FolderOptions {
  readonly by: string;
  readonly since?: string;
  readonly until?: string;
  readonly csv?: boolean;
  readonly jobs?: boolean;
}

export const registerUsage: RegisterVerb = (endpoint, context) => {
  withFolder(endpoint.command('usage').description('who used what, beside what the scheduler charged for it'))
    .option('--by <columns>', `some of ${COLUMNS.join(', ')}`, 'user,account,model')
    .option('--since <time>', 'the first day: a date, or how far back (30d)', '30d')
    .option('--until <time>', 'the last day; today unless given')
    .option('--csv', 'as CSV; with --jobs the table of jobs')
    .option('--jobs', "the scheduler's jobs too: elapsed, used, idle (asks the scheduler's accounting)")
    .action((options: UsageOptions, command: Command) => runUsage(context, options, command));
};

async function runUsage(context: CliContext, options: UsageOptions, command: Command): Promise<void> {
  const folder = chooseFolder(context, options);
  const config = readAgentConfig(folder.config);
  const by = columnsOf(options.by);
  const fromS = timeOf(context, options.since ?? '30d');
  const toS = options.until === undefined ? nowS(context) : timeOf(context, options.until);
  if (toS < fromS) throw usage('--until lies before --since');
  const account = config.blocks.shape.account ?? '';
  const [fromDay, toDay] = [Math.floor(fromS / DAY_S), Math.floor(toS / DAY_S)];
  const spent = readSpent(folder.ledger, account, fromDay, toDay);
  const { rows, total } = groupUsage(spent, by);
  const compared =
    options.jobs === true
      ? await jobsOf(context, folder, config, spent, [fromDay * DAY_S, (toDay + 1) * DAY_S - 1])
      : undefined;
  if (options.csv === true) {
    const text = compared === undefined ? csvOf(by, rows) : jobsCsv(compared.jobs);
    context.stdout.write(text);
    if (compared?.problem !== undefined) writeLine(context.stderr, `note: ${plainLine(compared.problem)}`);
    return;
  }
  const named = rows.map(({ of, ...measures }) => ({
    ...Object.fromEntries(by.map((c, k) => [c, of[k]])),
    ...measures,
  }));
  const facts = { since: dayOf(fromDay), until: dayOf(toDay), by, rows: named, total, ...compared };
  show(context, command, facts, [...tableOf(by, rows, total), ...(compared === undefined ? [] : jobLines(compared))]);
}

function columnsOf(text: string): Column[] {
  return text.split(',').map((word) => {
    const column = COLUMNS.find((each) => each === word.trim());
    if (column === undefined) throw usage(`--by ${plainLine(word)}: take some of ${COLUMNS.join(', ')}`);
    return column;
  });
}

/** A date as it is, a duration backwards. */
function timeOf(context: CliContext, text: string): number {
  const now = context.clock.now();
  return /^\d+[smhd]$/.test(text) ? 2 * Math.floor(now / 1000) - parseUntil(text, now) : parseUntil(text, now);
}

interface Compared {
  readonly jobs: JobRow[];
  readonly problem?: string;
}

async function jobsOf(
  context: CliContext,
  folder: AgentFolder,
  config: ReturnType<typeof readAgentConfig>,
  spent: readonly Spent[],
  [fromS, toS]: readonly [number, number],
): Promise<Compared> {
  const jobs = readJobs(folder.audit, fromS, toS);
  const site = siteScheduler(context, config, folder.root);
  if (site === undefined) return { jobs: compareJobs(jobs, spent, new Map(), '') };
  const ids = jobs.map(({ job }) => job);
  const { ran, source, problem } = await askAccounting(site, ids);
  return { jobs: compareJobs(jobs, spent, ran, source), ...(problem === undefined ? {} : { problem }) };
}

const HEAD = ['calls', 'node_hours', 'core_hours', 'gpu_hours', 'rows'];

function csvOf(by: readonly Column[], rows: readonly UsageRow[]): string {
  const lines = rows.map(({ of, calls, nodeHours, coreHours, gpuHours, rows: predicted }) =>
    csvLine([...of, calls, rounded(nodeHours), rounded(coreHours), rounded(gpuHours), predicted]),
  );
  return [csvLine([...by, ...HEAD]), ...lines].join('');
}

function jobsCsv(jobs: readonly JobRow[]): string {
  const head = [
    'job',
    'block',
    'account',
    'nodes',
    'elapsed_s',
    'by',
    'node_hours',
    'used_node_hours',
    'idle_node_hours',
  ];
  const lines = jobs.map((row) =>
    csvLine([
      ...[row.job, row.block, row.account, row.nodes, rounded(row.elapsedS), row.by],
      ...[rounded(row.nodeHours), rounded(row.usedNodeHours), rounded(row.idleNodeHours)],
    ]),
  );
  return [csvLine(head), ...lines].join('');
}

const hours = (value: number | undefined): string => (value === undefined ? '?' : value.toFixed(4));

function tableOf(by: readonly Column[], rows: readonly UsageRow[], total: Measures): string[] {
  if (rows.length === 0) return ['nothing was used in this time'];
  const line = (of: readonly string[], m: Measures): string[] => [
    ...of.map((text) => (text === '' ? '-' : plainLine(text, 40))),
    ...[String(m.calls), hours(m.nodeHours), hours(m.coreHours), hours(m.gpuHours), String(m.rows)],
  ];
  const all = [
    [...by, ...HEAD],
    ...rows.map((row) => line(row.of, row)),
    line(
      by.map((_, k) => (k === 0 ? 'total' : '')),
      total,
    ),
  ];
  return tableLines(all);
}

function jobLines({ jobs, problem }: Compared): string[] {
  const lines = jobs.map(
    (row) =>
      `job ${plainLine(row.job, 40)}  ${row.nodes} x ${row.elapsedS === undefined ? '?' : Math.round(row.elapsedS)} s by ${row.by}: ${hours(row.nodeHours)} node-hours, ${hours(row.usedNodeHours)} used, ${hours(row.idleNodeHours)} idle`,
  );
  return [
    '',
    ...(lines.length === 0 ? ['no job was submitted in this time'] : lines),
    'idle is what a block holds without running a call: its start-up, waiting for work, slots that are free',
    ...(problem === undefined ? [] : [`the accounting did not answer all: ${plainLine(problem)}`]),
  ];
}
