/** What monitoring reads: the text format, closed label sets, and the listener's three pages. */
import '../leaks.ts';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { createRegistry, gaugeText } from '#base/metrics.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AgentStatus } from '../../agent/control.ts';
import { type AgentHealthOptions, openAgentHealth } from '../../agent/health.ts';
import { createAgentMetrics, statusGauges } from '../../agent/metrics.ts';
import { getPage, parseMetrics } from '../prometheus.ts';

const FACTS = { residentBytes: 1000, nowS: 5, version: '0.1 "x"' };
const STATUS: AgentStatus = {
  endpoint: 'E',
  name: 'here',
  pid: 1,
  since: 2,
  state: 'open',
  descriptor: { seq: 1, expS: 9 },
  policy: { digest: 'sha256:0', rules: 1 },
  link: { state: 'live', via: 'grpc', detail: '' },
  broker: 'https://b',
  ledger: { epoch: { n: 1, since: 0 }, commits: 3, packsToSend: 4 },
  work: { tickets: 1, waiting: 2, leased: 3, stale: 0 },
  blocks: [
    { id: 'a', state: 'running', detail: '', pilots: 2, slots: 8, busy: 3 },
    { id: 'b', state: 'a state of tomorrow', detail: '', pilots: 0, slots: 0, busy: 0 },
  ],
};

t.test('the text is Prometheus’ format, and each sample stands under its type', async (t) => {
  const metrics = createAgentMetrics();
  metrics.admissions.add(['admitted'], 3);
  metrics.durations.observe(0.2);
  metrics.durations.observe(1e9);
  const samples = parseMetrics(metrics.text() + gaugeText(statusGauges(STATUS, FACTS)));
  t.equal(samples.get('farfield_agent_admissions_total{outcome="admitted"}'), 3);
});

t.test('a label has a closed set of values: what is unknown is counted as other', async (t) => {
  const metrics = createAgentMetrics();
  const before = metrics.text().split('\n').length;
  for (let k = 0; k < 100; k++) metrics.commands.add([`alice${k}`]);
  t.equal(metrics.text().split('\n').length, before + 1);
  t.match(metrics.text(), /scheduler_commands_total\{end="other"\} 100\n/);
  t.match(gaugeText(statusGauges(STATUS, FACTS)), /farfield_agent_blocks\{state="other"\} 1\n/);
  t.match(metrics.text(), /farfield_agent_admissions_total\{outcome="refused"\} 0\n/, 'there before its first event');
});

t.test('a histogram counts into all wider buckets', async (t) => {
  const registry = createRegistry();
  const seconds = registry.histogram('farfield_agent_x_seconds', 'x', [1, 10]);
  seconds.observe(1);
  seconds.observe(5, 2);
  seconds.observe(50);
  t.match(
    registry.text(),
    /le="1"} 1\n.*le="10"} 3\n.*le="\+Inf"} 4\nfarfield_agent_x_seconds_sum 61\nfarfield_agent_x_seconds_count 4\n/,
  );
});

t.test('the gauges say what status says', async (t) => {
  const text = gaugeText(statusGauges({ ...STATUS, state: 'draining', reason: 'x' }, FACTS));
  for (const line of [
    'farfield_agent_state{state="draining"} 1',
    'farfield_agent_state{state="open"} 0',
    'farfield_agent_items{state="waiting"} 2',
    'farfield_agent_slots{state="free"} 5',
    'farfield_agent_link{state="live"} 1',
    'farfield_agent_packs_unsent 4',
    'farfield_agent_resident_memory_bytes 1000',
  ])
    t.ok(text.includes(`${line}\n`), line);
});

t.test('live, ready and metrics are answered on a private socket or on loopback', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-health-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socket = join(folder, 'health.sock');
  let status = STATUS;
  let broken: FarfieldError | undefined;
  const options: AgentHealthOptions = {
    config: { listen: 'unix' },
    socket,
    status: () => status,
    probe: () => (broken === undefined ? Promise.resolve() : Promise.reject(broken)),
    metrics: createAgentMetrics(),
    facts: () => FACTS,
    clock: systemClock,
  };
  {
    await using _health = await openAgentHealth(options);
    t.equal(statSync(socket).mode & 0o777, 0o600);
    const at = { socketPath: socket };
    t.match(await getPage(at, '/livez'), { status: 200 });
    t.match(await getPage(at, '/readyz'), { status: 200, text: /ledger: writable\nlink: live/ });
    t.match(await getPage(at, '/metrics'), { status: 200, type: /version=0\.0\.4/, text: /farfield_agent_info/ });
    t.match(await getPage(at, '/else'), { status: 404 });
    t.match(await getPage(at, '/metrics', 'POST'), { status: 405 });
    status = { ...STATUS, state: 'draining', reason: 'lunch', link: { state: 'waiting', via: '', detail: 'refused' } };
    t.match(
      await getPage(at, '/readyz'),
      { status: 200, text: /draining: lunch/ },
      'a broker that is away is no reason to restart it',
    );
    broken = new FarfieldError('E_DISK_FULL', 'no room');
    t.match(await getPage(at, '/readyz'), { status: 503, text: /ledger: no room/ });
    t.match(await getPage(at, '/livez'), { status: 200 }, 'and lives');
  }
  t.throws(() => statSync(socket), { code: 'ENOENT' }, 'the socket goes with it');
  await using health = await openAgentHealth({ ...options, config: { listen: '127.0.0.1:0' } });
  const [host, port] = health.at.split(':');
  t.match(await getPage({ host, port }, '/livez'), { status: 200 });
  await t.rejects(openAgentHealth({ ...options, config: { listen: health.at } }), {
    code: 'E_USAGE',
    message: /EADDRINUSE/,
  });
});
