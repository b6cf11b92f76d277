/** The site's account: what calls used, by whom, beside what the scheduler charges for their blocks. */
import '../leaks.ts';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import type { CliContext } from '#base/cli.ts';
import { systemRandom } from '#base/random.ts';
import { csvLine } from '#base/table.ts';
import {
  askAccounting,
  compareJobs,
  groupUsage,
  type Job,
  readJobs,
  readSpent,
  type Spent,
} from '../../agent/cli/usage.ts';
import type { CommandOutcome } from '../../agent/schedulers/command.ts';
import type { SchedulerCommand } from '../../agent/schedulers/driver.ts';
import { createDriver } from '../../agent/schedulers/drivers.ts';
import { runCli } from '../../client/cli/main.ts';
import { NOW, noopBatch, single } from './parts.ts';
import { startSite } from './site.ts';

const DAY = Math.floor(NOW / 86_400);

t.test('rows that a runner says it predicted are in the account; what is no count counts nothing', async (t) => {
  await using site = await startSite({ pilot: { slots: 3 } });
  site.broker.deliver(noopBatch(site.party, 3).part([0, 1, 2]));
  const busy = () => site.pilots.find(({ launched }) => launched.length === 3);
  await site.until('a pilot with three leases', () => busy() !== undefined);
  const pilot = busy();
  const claims = [{ rep: { summary: { rows: 13_799 } } }, { rep: { summary: { rows: 1.5 } } }, {}];
  for (const [k, detail] of claims.entries()) pilot?.end(pilot.launched.slice(k, k + 1), 'succeeded', detail);
  await site.until('three receipts', () => site.broker.receipts(site.party.principal.kid).length === 3);
  await site.restart();
  const { rows, total } = groupUsage(readSpent(site.folder.ledger, '', DAY - 1, DAY + 1), ['user', 'function']);
  t.match(rows, [{ of: ['alice', 'test/noop'], calls: 3, rows: 13_799 }]);
  t.equal(total.rows, 13_799);
});

t.test('calls of a whole agent are in its ledger by user, function and block, and stay after a restart', async (t) => {
  await using site = await startSite({ pilot: { auto: true, slots: 2 } });
  const done = () => site.broker.receipts(site.party.principal.kid).length;
  site.broker.deliver(single(site.party, 'x'), noopBatch(site.party, 5).part([0, 1, 2, 3, 4]));
  await site.until('six receipts', () => done() === 6);
  await site.restart();
  const rows = readSpent(site.folder.ledger, 'MAT', DAY - 1, DAY + 1);
  const { total } = groupUsage(rows, ['user']);
  t.equal(total.calls, 6);
  t.match(rows, [{ user: 'alice', account: 'MAT', function: 'test/noop', key: site.party.principal.kid, model: '' }]);
  t.ok(
    rows.every(({ block }) => block.length > 4),
    'each with the block that ran it',
  );
  t.same(readSpent(site.folder.ledger, '', DAY - 9, DAY - 8), [], 'and on its day');

  writeFileSync(site.folder.config, '', { mode: 0o600 });
  const usage = async (...more: string[]): Promise<string> => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const context: CliContext = {
      ...{ env: {}, stdin: new PassThrough(), stdout, stderr, cwd: site.folder.root, home: site.folder.root },
      ...{ clock: site.clock, random: systemRandom, signal: new AbortController().signal, self: [] },
    };
    const argv = ['endpoint', 'usage', '--state', site.folder.root, '--by', 'user,function', ...more];
    t.equal(await runCli(argv, context), 0, `${stderr.read() ?? ''}`);
    return `${stdout.read() ?? ''}`;
  };
  t.match(
    await usage('--csv'),
    /^user,function,calls,node_hours,core_hours,gpu_hours,rows\r\nalice,test\/noop,6,[\d.e-]+,[\d.e-]+,0,0\r\n$/,
  );
  t.match(JSON.parse(await usage('--json')), { by: ['user', 'function'], total: { calls: 6 }, rows: [{ calls: 6 }] });
  t.match(await usage('--jobs'), /^total +- +6 .*\n\nno job was submitted/m);
  t.match(await usage('--jobs', '--csv'), /^job,block,account,nodes,elapsed_s,by,/);
});

t.test('rows of any grouping have one total, which is their sum', async () => {
  const word = fc.constantFrom('', 'a', 'b', '","', '__proto__');
  const amount = fc.integer({ min: 0, max: 1_000_000 });
  const row = fc.record({
    ...{ user: word, account: word, model: word, function: word, day: word, block: word, key: word },
    ...{ calls: amount, nodeHours: amount, coreHours: amount, gpuHours: amount, rows: amount },
  });
  fc.assert(
    fc.property(fc.array(row), fc.subarray(['user', 'account', 'model', 'block'] as const), (rows: Spent[], by) => {
      const { rows: groups, total } = groupUsage(rows, by);
      const all = groupUsage(rows, []).total;
      const sum = groups.reduce((before, { nodeHours }) => before + nodeHours, 0);
      const keys = new Set(groups.map(({ of }) => JSON.stringify(of)));
      return sum === total.nodeHours && total.nodeHours === all.nodeHours && keys.size === groups.length;
    }),
  );
});

t.test('a job costs what its calls used and its idle time, by the scheduler where that says so', async (t) => {
  const job = (id: string, endedS?: number): Job => ({
    ...{ block: `block-${id}`, job: id, account: 'MAT', nodes: 2 },
    ...{ submittedS: NOW, endedS },
  });
  const base = { user: 'alice', account: 'MAT', model: '', function: 'f', day: '', key: '' };
  const spent: Spent[] = ['1', '1', '2'].map((id) => ({
    ...{ ...base, block: `block-${id}` },
    ...{ calls: 1, nodeHours: 0.25, coreHours: 1, gpuHours: 0, rows: 0 },
  }));
  const rows = compareJobs([job('1', NOW + 9), job('2', NOW + 1800), job('3')], spent, new Map([['1', 3600]]), 'sacct');
  t.match(rows, [
    { job: '1', by: 'sacct', nodeHours: 2, usedNodeHours: 0.5, idleNodeHours: 1.5 },
    { job: '2', by: /^agent/, nodeHours: 1, usedNodeHours: 0.25, idleNodeHours: 0.75 },
    { job: '3', by: 'not over', nodeHours: undefined, usedNodeHours: 0 },
  ]);
  for (const { nodeHours = 0, usedNodeHours, idleNodeHours } of rows)
    if (idleNodeHours !== undefined) t.equal(usedNodeHours + idleNodeHours, nodeHours);
});

t.test('Slurm’s accounting is asked for many jobs in one command, and one that is away is said', async (t) => {
  const asked: string[][] = [];
  const site = (outcome: (command: SchedulerCommand) => CommandOutcome) => ({
    driver: createDriver('slurm'),
    run: async (command: SchedulerCommand) => {
      asked.push([...command.argv]);
      return outcome(command);
    },
  });
  const done = (stdout: string, stderr = '', code = 0): CommandOutcome => ({
    kind: 'done',
    output: { code, stdout, stderr },
  });
  const good = await askAccounting(
    site(() => done('11|95\n12|0\n13|\n')),
    ['11', '12', '13', '14'],
  );
  t.same(
    [...good.ran],
    [
      ['11', 95],
      ['12', 0],
    ],
  );
  t.equal(good.source, 'sacct');
  t.match(asked, [['sacct', '-X', '-P', '-n', '-o', 'JobIDRaw,ElapsedRaw', '-j', '11,12,13,14']]);
  const off = await askAccounting(
    site(() => done('', 'Slurm accounting storage is disabled', 1)),
    ['11'],
  );
  t.match(off, { ran: new Map(), problem: /accounting storage is disabled/ });
  const gone = await askAccounting(
    site(() => ({ kind: 'notStarted', why: 'no sacct here' })),
    ['11'],
  );
  t.match(gone, { problem: /no sacct here/ });
  t.match(
    await askAccounting(
      site(() => done('11|95\nsacct: error: x\n')),
      ['11'],
    ),
    { problem: /no job/ },
  );
  asked.length = 0;
  await askAccounting(
    site(() => done('')),
    Array.from({ length: 450 }, (_, k) => `${k}`),
  );
  t.equal(asked.length, 9, 'no more ids than it was seen to bear');
});

t.test('jobs are read from the audit log, over its rotations, and torn lines are passed over', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-usage-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const audit = join(folder, 'audit.log');
  const at = (s: number): string => new Date((NOW + s) * 1000).toISOString();
  const line = (value: object): string => `${JSON.stringify(value)}\n`;
  writeFileSync(
    `${audit}.1`,
    line({ at: at(-9e6), event: 'block-submitted', block: 'old', job: '1', nodes: 1 }) +
      line({ at: at(0), event: 'block-submitted', block: 'b2', job: '2', nodes: 3, account: 'MAT' }),
  );
  writeFileSync(
    audit,
    `{"at":"x\n${line({ at: at(60), event: 'block-ended', job: '2' })}${line({ at: at(61), event: 'block-ended', job: '1' })}null\n`,
  );
  t.same(readJobs(audit, NOW - 10, NOW + 10), [
    { block: 'b2', job: '2', nodes: 3, account: 'MAT', submittedS: NOW, endedS: NOW + 60 },
  ]);
  t.same(readJobs(join(folder, 'none'), 0, NOW), []);
});

t.test('CSV is RFC 4180, and no cell is a formula', async (t) => {
  t.equal(csvLine(['a', 1.5, undefined, 'b,c', 'say "x"', 'two\nlines']), 'a,1.5,,"b,c","say ""x""","two\nlines"\r\n');
  for (const text of ['=1+1', '+1', '-1', '@SUM(A1)', ' =cmd', '\t=1', '\r=1', '|calc', '%x'])
    t.match(csvLine([text]), /^"'/, JSON.stringify(text));
  t.equal(csvLine([-1, 'peaks/braggnn', 'a-b']), '-1,peaks/braggnn,a-b\r\n', 'numbers and names stay');
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 4 }), (cells) => {
      const fields = parse(csvLine(cells));
      return (
        fields.length === cells.length && fields.every((field, k) => field === cells[k] || field === `'${cells[k]}`)
      );
    }),
  );
});

/** One line of RFC 4180. */
function parse(line: string): string[] {
  const fields: string[] = [];
  const pattern = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n$)/gy;
  for (const [, quoted, plain = ''] of line.matchAll(pattern)) fields.push(quoted?.replaceAll('""', '"') ?? plain);
  return fields;
}
