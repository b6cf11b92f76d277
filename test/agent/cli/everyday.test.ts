/** An admin's everyday against a real agent: why, drain, status, logs, doctor, the bundle, and leaving. */
import '../../leaks.ts';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { ticketId } from '#kernel/ids.ts';
import { parseToken } from '#kernel/jws.ts';
import { generateKey } from '#kernel/sign.ts';
import { openAudit } from '../../../agent/audit.ts';
import { redact } from '../../../agent/cli/redact.ts';
import { createAgentMetrics } from '../../../agent/metrics.ts';
import { type AgentWatch, createWatch } from '../../../agent/watch.ts';
import { type Delivery, noopBatch, single } from '../parts.ts';
import { type Site, startSite } from '../site.ts';
import { answer, type Desk, openDesk } from './parts.ts';

/** A delivery, and the public id of its call. */
function called(site: Site, delivery: Delivery): string {
  const token = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], delivery.ticket.ticket);
  site.broker.deliver(delivery);
  return ticketId(site.party.principal.kid, token.claims.jti);
}
const why = async (desk: Desk, id: string): Promise<Record<string, unknown>> =>
  answer(await desk.endpoint('why', id, '--json'));

t.test(
  'why names what keeps a call waiting: nodes with the scheduler’s own words, then places, and then what became of it',
  async (t) => {
    await using site = await startSite({ onSubmit: () => undefined, pilot: { slots: 1 } });
    await using desk = await openDesk(site);
    const id = called(site, single(site.party, 'x'));
    await site.until('it is admitted', () => site.broker.admitted.length === 1);
    await site.until('its block is submitted', () => site.scheduler.submitted.length === 1);
    t.match(await why(desk, id), { code: 'block', sentence: /waits for block/, ahead: 0 });
    const short = await desk.endpoint('why', id.slice(0, 8));
    t.equal(short.code, 0, 'the beginning of an id will do');
    t.ok(short.stdout.startsWith(`${id}.0: it waits`));
    const { createPilotPeer } = await import('../../fakes/pilot-peer.ts');
    const { systemRandom } = await import('#base/random.ts');
    const pilot = createPilotPeer(site.scheduler.submitted[0]?.folder ?? '', {
      clock: site.clock,
      random: systemRandom,
      slots: 1,
    });
    await pilot.dial();
    await site.until('it runs', () => pilot.launched.length === 1);
    t.match(await why(desk, id), { code: 'running', sentence: /runs on node-1/ });
    const second = called(site, single(site.party, 'y'));
    await site.until('the second is admitted', () => site.broker.admitted.length === 2);
    t.match(await why(desk, second), { code: 'slots' });
    pilot.end(pilot.held);
    await site.until('it is over', () => site.broker.receipts(site.party.principal.kid).length === 1);
    t.match(await why(desk, id), { code: 'done', sentence: /succeeded/ }, 'from the ledger');
    const none = await desk.endpoint('why', '0123456789abcdef0123456789abcdef');
    t.equal(none.code, 4);
    t.match(none.stderr, /has not admitted/);
    t.equal((await desk.endpoint('why', 'zzz')).code, 2);
  },
);

t.test('why tells a ceiling of the rule from a queue', async (t) => {
  await using site = await startSite({ pilot: { slots: 4 } });
  await using desk = await openDesk(site);
  const policy = JSON.parse(readFileSync(site.folder.policy, 'utf8')) as { rules: object[] };
  site.writePolicy({ rules: policy.rules.map((rule) => ({ ...rule, resources: { concurrent: 1 } })) });
  await site.agent.reload();
  const id = called(site, noopBatch(site.party, 3).part([0, 1, 2]));
  await site.until('one runs', () => site.pilots[0]?.launched.length === 1);
  const waiting = await why(desk, `${id}.2`);
  t.match(waiting, {
    code: 'ceiling',
    sentence: /lets one person run 1 items at once, and 1 run/,
    items: { waiting: 2, running: 1 },
  });
  site.writePolicy({ rules: [] });
  await site.agent.reload();
  t.match(await why(desk, `${id}.2`), { code: 'refused', sentence: /E_POLICY/ });
});

t.test('a drain ends what runs, keeps what waits through a restart, and goes on at resume', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  let desk = await openDesk(site);
  const id = called(site, noopBatch(site.party, 2).part([0, 1]));
  await site.until('one runs', () => site.pilots[0]?.launched.length === 1);
  const drained = await desk.endpoint('drain', '--reason', 'maintenance at noon', '--json');
  t.equal(drained.code, 0);
  t.match(answer(drained), { state: 'draining', reason: 'maintenance at noon' });
  t.match(await why(desk, `${id}.1`), { code: 'draining', sentence: /maintenance at noon/ });
  await site.until('those who wait are told', () =>
    site.broker.running.some(({ detail }) => /maintenance/.test(detail ?? '')),
  );
  const waited = desk.endpoint('drain', '--wait', '--json', '--reason', 'maintenance at noon');
  site.pilots[0]?.end(site.pilots[0].held);
  await site.until('its receipt', () => site.broker.receipts(site.party.principal.kid).length === 1);
  t.match(answer(await waited), { work: { leased: 0, waiting: 1 } });
  t.equal(site.pilots[0]?.launched.length, 1, 'nothing new was started');
  await desk[Symbol.asyncDispose]();
  await site.restart();
  desk = await openDesk(site);
  t.match(site.agent.status(), { state: 'draining', draining: { reason: 'maintenance at noon' } });
  const shown = await desk.endpoint('status');
  t.match(shown.stdout, /state {4}draining: maintenance at noon/);
  await site.until('the link is back', () => site.broker.sessions.length === 2, 200);
  await site.pilots[0]?.dial();
  t.equal((await desk.endpoint('resume')).code, 0);
  await site.until('the second runs', () => site.pilots.some((pilot) => pilot.held.length === 1), 200);
  t.match(site.agent.status(), { state: 'open' });
  await desk[Symbol.asyncDispose]();
});

t.test('a drain without an agent holds for the next one', async (t) => {
  await using site = await startSite();
  await site.agent.stop({ blocks: true });
  const { type } = await import('./parts.ts');
  const typed = { home: site.folder.root, now: () => site.clock.now() };
  const endpoint = (...argv: string[]) => type(typed, 'endpoint', ...argv, '--state', site.folder.root);
  t.equal((await endpoint('resume')).code, 2, 'there is nothing to resume');
  t.match(answer(await endpoint('drain', '--json')), { draining: true });
  t.match((await endpoint('doctor', '--no-network', '--json')).stdout, /"draining"/);
  t.match(answer(await endpoint('resume', '--json')), { draining: false });
  await endpoint('drain');
  await site.restart();
  t.match(site.agent.status(), { state: 'draining' });
});

t.test('logs are one stream by time, of one block or from one level on, and follow what is written', async (t) => {
  await using site = await startSite();
  await using desk = await openDesk(site);
  const line = (atS: number, level: string, msg: string): string =>
    `${JSON.stringify({ level, time: new Date((site.clock.now() / 1000 - atS) * 1000).toISOString(), name: 'agent', pid: 1, msg, job: '7' })}\n`;
  writeFileSync(site.folder.log, line(7200, 'info', 'old') + line(60, 'error', 'new') + line(10, 'info', 'newest'));
  const block = join(site.folder.blocks, 'blockA');
  mkdirSync(block, { recursive: true });
  writeFileSync(join(block, 'pilot.log'), `${line(30, 'info', 'pilot began')}module: not found\n`);
  const all = await desk.endpoint('logs');
  t.match(all.stdout, /old[\s\S]*new[\s\S]*pilot began[\s\S]*module: not found[\s\S]*newest/);
  t.match(all.stdout, /job=7/);
  t.notMatch((await desk.endpoint('logs', '--since', '1h')).stdout, /old/);
  t.notMatch((await desk.endpoint('logs', '--block', 'blockA')).stdout, /newest/);
  t.equal((await desk.endpoint('logs', '--level', 'error')).stdout.trim().split('\n').length, 1);
  t.equal((await desk.endpoint('logs', '--level', 'loud')).code, 2);
  t.equal((await desk.endpoint('logs', '--block', 'nobody')).code, 2);
  t.match(answer(await desk.endpoint('logs', '--lines', '1', '--json')), {
    source: 'agent',
    level: 'info',
    text: 'newest',
  });
  // Written again and again: the reader may not have begun yet.
  const writer = setInterval(() => appendFileSync(site.folder.log, line(0, 'warn', 'while you watch')), 50);
  const followed = await desk.until(/while you watch/, 'logs', '--follow', '--lines', '0');
  t.match(followed, { code: 0, stdout: /while you watch/ });
  clearInterval(writer);
});

t.test('doctor gives a code and a remedy for each thing that is wrong', async (t) => {
  await using site = await startSite({
    onSubmit({ scheduler }) {
      const job = `job ${scheduler.submitted.length}`;
      // After the submission was answered.
      setImmediate(() => scheduler.end(job, 'no such account', 'failed'));
    },
  });
  await using desk = await openDesk(site);
  const codes = async (): Promise<string[]> => {
    const found = answer(await desk.endpoint('doctor', '--no-network', '--json')).findings as {
      code: string;
      remedy?: string;
    }[];
    for (const { code, remedy } of found) t.ok(remedy, `${code} has a remedy`);
    return found.map(({ code }) => code);
  };
  const before = await codes();
  t.notOk(before.includes('paused') || before.includes('breaker'), 'an endpoint that is well');
  appendFileSync(
    site.folder.log,
    `${JSON.stringify({ level: 'error', time: new Date(site.clock.now()).toISOString(), msg: 'the disk coughs' })}\n`,
  );
  t.ok((await codes()).includes('errors'));
  const shown = await desk.endpoint('status');
  t.match(shown.stdout, /error {4}\S+: the disk coughs/, 'status shows the last errors');
  t.match(answer(await desk.endpoint('status', '--json')), { state: 'open', errors: [{ message: 'the disk coughs' }] });
  const id = called(site, single(site.party, 'x'));
  await site.until('three blocks died', () => site.agent.status().state === 'paused', 1000);
  const sick = await desk.endpoint('doctor', '--no-network');
  t.equal(sick.code, 1);
  t.match((await desk.endpoint('status')).stdout, /breaker {2}open, after 3 blocks/);
  t.match(sick.stdout, /FAIL {2}breaker[\s\S]*died at their start[\s\S]*-> mend/);
  t.match(await why(desk, id), { code: 'paused', sentence: /died at their start/ });
});

/** One of each kind, none of which may be in a bundle. */
function secrets(): Record<string, string> {
  const key = generateKey();
  const jwk = key.export({ format: 'jwk' }) as { d?: string };
  return {
    pem: key.export({ type: 'pkcs8', format: 'pem' }).toString().split('\n')[1] ?? '',
    jwk: jwk.d ?? '',
    invitation: `ff1.${'Q'.repeat(40)}`,
    jws: `eyJhbGciOiJFZDI1NTE5In0.${'c'.repeat(40)}.${'d'.repeat(86)}`,
    proxy: 'proxyPassw0rd',
    env: 'valueOfEnv1',
    assigned: 'assignedSecret2',
    bearer: 'bearerToken3333',
    quoted: 'a quoted one 4',
    option: 'givenAsOption5',
  };
}

function plant(site: Site, all: Record<string, string>): void {
  const { folder } = site;
  const { pem = '', jwk, invitation, jws, proxy, env, assigned, bearer, quoted, option } = all;
  writeFileSync(
    folder.config,
    `network: { proxy: "http://me:${proxy}@proxy.site:3128" }\nenv: { PATH: /usr/bin, HARMLESS: ${env} }\nblocks: { scheduler: slurm, batch: { commandPath: /nowhere, setup: ["export SITE_TOKEN=${assigned}", "curl -H 'Authorization: Bearer ${bearer}' x", "tool --password ${option}"] } }\n`,
    { mode: 0o600 },
  );
  const text = [
    `-----BEGIN PRIVATE KEY-----\n${pem}\n-----END PRIVATE KEY-----`,
    JSON.stringify({ kty: 'OKP', d: jwk }),
    `joined with ${invitation}`,
    `ticket ${jws}`,
    `API_KEY="${quoted}"`,
    `http://me:${proxy}@proxy.site:3128`,
    `{"password":"${assigned}"}`,
  ].join('\n');
  appendFileSync(
    folder.log,
    `${text}\n${JSON.stringify({ level: 'info', time: '2026-01-01T00:00:00Z', msg: text })}\n`,
  );
  appendFileSync(folder.audit, `${JSON.stringify({ event: 'refused', message: text })}\n`);
  mkdirSync(join(folder.blocks, 'b1'), { recursive: true });
  writeFileSync(join(folder.blocks, 'b1', 'pilot.log'), text);
  writeFileSync(join(folder.blocks, 'b1', 'block.json'), JSON.stringify({ token: jws }));
  writeFileSync(join(folder.keys, 'other.pem'), pem);
  appendFileSync(folder.policy, '');
}

t.test(
  'a support bundle lists what is in it, and holds none of the secrets that were planted everywhere',
  async (t) => {
    await using site = await startSite();
    await using desk = await openDesk(site);
    const planted = secrets();
    plant(site, planted);
    const listed = await desk.endpoint('support-bundle', '--list', '--no-network', '--json');
    t.equal(listed.code, 0, listed.stdout + listed.stderr);
    const names = (answer(listed).files as { name: string }[]).map(({ name }) => name);
    t.ok(
      ['versions.json', 'config.yaml', 'doctor.json', 'status.json', 'logs/agent.log', 'logs/block-b1.log'].every(
        (name) => names.includes(name),
      ),
      names.join(),
    );
    const out = join(site.folder.root, 'bundle.tar.gz');
    const ran = await desk.endpoint('support-bundle', '--out', out, '--no-network');
    t.equal(ran.code, 0, ran.stderr);
    t.match(ran.stderr, /config\.yaml/, 'the list comes first');
    const text = gunzipSync(readFileSync(out)).toString('latin1');
    t.match(text, /slurm/, 'it tells something');
    for (const [kind, secret] of Object.entries(planted)) t.notOk(text.includes(secret), `no ${kind}`);
    t.equal((await desk.endpoint('support-bundle', '--out', 'x.zip')).code, 2);
  },
);

t.test('redaction leaves sentences and settings that hide nothing', async (t) => {
  for (const text of [
    'the token is over',
    'password authentication failed for nobody',
    'retentionS: 604800',
    'secret: true',
    'blocks: { slots: 4 }',
  ])
    t.equal(redact(text), text);
});

t.test('leave refuses while work is open, says what is lost, tells the broker, and keeps what proves', async (t) => {
  await using site = await startSite();
  writeFileSync(site.folder.broker, JSON.stringify({ url: 'https://broker.invalid', grpc: '', ca: '', brokerId: 'b' }));
  await using desk = await openDesk(site);
  site.broker.deliver(single(site.party, 'x'));
  await site.until('it runs', () => site.pilots[0]?.launched.length === 1);
  const refused = await desk.endpoint('leave');
  t.equal(refused.code, 1);
  t.match(refused.stderr, /1 items run[\s\S]*drain --wait[\s\S]*--force/);
  t.ok(existsSync(site.folder.broker));
  site.pilots[0]?.end(site.pilots[0].held);
  await site.until(
    'it is settled',
    () => site.agent.status().work.tickets === 0 && site.agent.status().ledger.packsToSend === 0,
  );
  const leaving = desk.endpoint('leave', '--json');
  await site.until('the broker is told', () => site.broker.statuses.length > 1);
  // The process that would end now is this test's.
  await site.until('the agent ended', () => site.scheduler.cancelled.length > 0, 200);
  await desk[Symbol.asyncDispose]();
  t.match(answer(await leaving), { told: true, lost: null, keys: true });
  t.notOk(existsSync(site.folder.broker), 'the enrolment is gone');
  t.ok(existsSync(site.folder.ledger) && existsSync(site.folder.onlineKey));
  t.match(readFileSync(site.folder.audit, 'utf8'), /"event":"leave"/);
});

t.test('the audit log has a line for each decision, job and act of an admin, and is rotated', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-audit-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'audit.log');
  const clock = createManualClock(0);
  const log = createLogger({ name: 'test', level: 'silent' });
  const audit = openAudit({ file, config: { maxBytes: 1024 * 1024, keep: 2 }, clock, log });
  const watch: AgentWatch = createWatch({ metrics: createAgentMetrics(), audit, clock });
  {
    await using site = await startSite({ watch, pilot: { auto: true } });
    site.broker.deliver(single(site.party, 'x'));
    await site.until('a receipt', () => site.broker.receipts(site.party.principal.kid).length === 1);
    site.broker.deliver({
      ...single(site.party, 'z', { fn: { name: 'other/x', version: '1.0.0', manifest: site.party.manifestDigest } }),
    });
    await site.until('a refusal', () => /"refused"/.test(existsSync(file) ? readFileSync(file, 'utf8') : ''));
    await site.agent.drain('lunch');
    await site.agent.resume();
    site.writePolicy({ rules: [] });
    await site.agent.reload();
  }
  audit.flush();
  const events = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.match(
    events.find(({ event }) => event === 'admitted'),
    { principal: String, jti: String, rule: 'noops for alice', items: 1 },
  );
  t.match(
    events.find(({ event }) => event === 'refused'),
    { code: String, step: String },
  );
  t.match(
    events.find(({ event }) => event === 'block-submitted'),
    { block: String, job: 'job 1' },
  );
  for (const name of ['drain', 'resume', 'reload', 'stop'])
    t.ok(
      events.some(({ event }) => event === name),
      name,
    );
  const text = watch.metrics.text();
  t.match(text, /farfield_agent_admissions_total\{outcome="admitted"\} 1\n/);
  t.match(text, /farfield_agent_item_outcomes_total\{status="succeeded"\} 1\n/);
  t.match(text, /farfield_agent_item_starts_total 1\n/);
  t.match(text, /farfield_agent_block_submits_total\{outcome="submitted"\} 1\n/);
  for (let k = 0; k < 40; k++) {
    audit.note('admitted', { message: 'x'.repeat(100_000) });
    audit.flush();
  }
  t.ok(existsSync(`${file}.1`) && existsSync(`${file}.2`) && !existsSync(`${file}.3`), 'two older files are kept');
});
