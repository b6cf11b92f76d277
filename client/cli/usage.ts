/**
 * `farfield usage`: what your own calls used, from the receipts that the broker still keeps.
 *
 * Every receipt is verified before it counts, so that no broker can change the sum; client/ts/usage.ts says what is counted and what
 * is in no receipt. Columns are those of `farfield endpoint usage` where they mean the same.
 */
import type { Command } from 'commander';
import { type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { csvLine, tableLines } from '#base/table.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Client } from '../ts/client.ts';
import type { Home } from '../ts/home.ts';
import {
  sumUsed,
  USAGE_COLUMNS,
  type UsageColumn,
  type Used,
  type UsedItem,
  type UsedRow,
  usedOf,
} from '../ts/usage.ts';
import { openClient, parseDuration } from './common.ts';

interface UsageOptions {
  readonly by: string;
  readonly since: string;
  readonly csv?: boolean;
}

export const register: RegisterVerb = (program, context) => {
  program
    .command('usage')
    .description('what your own calls used: items, rows, node-hours and GPU-hours of verified receipts')
    .option('--by <columns>', `some of ${USAGE_COLUMNS.join(', ')}`, 'endpoint,function,model')
    .option('--since <time>', 'calls that were submitted since: how far back (12h, 7d)', '7d')
    .option('--csv', 'as CSV')
    .action(async (options: UsageOptions, command: Command) => {
      const by = columnsOf(options.by);
      const sinceS = context.clock.now() / 1000 - parseDuration(options.since);
      const setting = await openClient(context);
      await using client = setting.client;
      const { items, problems } = await gather(client, sinceS);
      const { rows, total } = sumUsed(await named(setting.home, items), by);
      for (const problem of problems) writeLine(context.stderr, `note: ${plainLine(problem, 500)}`);
      if (options.csv === true) context.stdout.write(csvOf(by, rows));
      else if (command.optsWithGlobals().json === true)
        writeJson(context.stdout, {
          ...{ since: new Date(sinceS * 1000).toISOString(), by, total, left: problems.length },
          rows: rows.map(({ of, ...sums }) => ({ ...Object.fromEntries(by.map((c, k) => [c, of[k]])), ...sums })),
        });
      else for (const line of linesOf(by, rows, total)) writeLine(context.stdout, line);
    });
};

function columnsOf(text: string): UsageColumn[] {
  return text.split(',').map((word) => {
    const column = USAGE_COLUMNS.find((each) => each === word.trim());
    if (column === undefined) throw usage(`--by ${plainLine(word)}: take some of ${USAGE_COLUMNS.join(', ')}`);
    return column;
  });
}

/** Newest first, so that the first page beyond the time ends it. A call whose receipts do not verify is said and left out. */
async function gather(client: Client, sinceS: number): Promise<{ items: UsedItem[]; problems: string[] }> {
  const items: UsedItem[] = [];
  const problems: string[] = [];
  for await (const page of client.tickets()) {
    const recent = page.filter(({ queuedAt }) => queuedAt >= sinceS);
    for (const ticket of recent) {
      const own: UsedItem[] = [];
      try {
        for await (const pack of client.outcomes(ticket.id)) own.push(...usedOf(ticket, pack));
        items.push(...own);
      } catch (reason) {
        const error = FarfieldError.from(reason);
        // The broker that went away in the middle leaves no sum worth printing.
        if (error.retryable) throw error;
        problems.push(`${ticket.id} is left out: ${error.message}`);
      }
    }
    if (recent.length < page.length) break;
  }
  return { items, problems };
}

/** Endpoints as the user has pinned them. */
async function named(home: Home, items: readonly UsedItem[]): Promise<UsedItem[]> {
  const names = new Map((await home.pins()).map((pin) => [pin.endpoint, pin.name]));
  return items.map((item) => ({ ...item, endpoint: names.get(item.endpoint) ?? item.endpoint }));
}

const HEAD = ['items', 'rows', 'node_hours', 'gpu_hours', 'untimed'];

/** A millisecond of an hour is 3e-7; sums of rounded rows still show their total. */
const rounded = (value: number): number => Math.round(value * 1e9) / 1e9;

function csvOf(by: readonly UsageColumn[], rows: readonly UsedRow[]): string {
  const lines = rows.map(({ of, items, rows: predicted, nodeHours, gpuHours, untimed }) =>
    csvLine([...of, items, predicted, rounded(nodeHours), rounded(gpuHours), untimed]),
  );
  return [csvLine([...by, ...HEAD]), ...lines].join('');
}

function linesOf(by: readonly UsageColumn[], rows: readonly UsedRow[], total: Used): string[] {
  if (rows.length === 0) return ['no call of this time has a receipt that the broker still keeps'];
  const cells = (of: readonly string[], sums: Used): string[] => [
    ...of.map((text) => (text === '' ? '-' : plainLine(text, 44))),
    ...[
      String(sums.items),
      String(sums.rows),
      sums.nodeHours.toFixed(4),
      sums.gpuHours.toFixed(4),
      String(sums.untimed),
    ],
  ];
  const sum = cells(
    by.map((_, k) => (k === 0 ? 'total' : ' ')),
    total,
  );
  return [
    ...tableLines([[...by, ...HEAD], ...rows.map((row) => cells(row.of, row)), sum]),
    ...(total.untimed === 0 ? [] : ['untimed: items too short for a time of their own (under 50 ms)']),
  ];
}
