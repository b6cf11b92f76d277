import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { networkInterfaces } from 'node:os';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import '../../leaks.ts';
import { systemClock } from '#base/clock.ts';
import { splitAddress, tlsDialler } from '#base/link/tls-dial.ts';
import { systemRandom } from '#base/random.ts';
import { candidates, type Doors, openDoors } from '../../../agent/blocks/doors.ts';
import { type ResolvedListen, resolveAgentConfig } from '../../../agent/config.ts';

const address = (text: string, internal = false) =>
  ({ address: text, internal, family: text.includes(':') ? 'IPv6' : 'IPv4' }) as never;
const INTERFACES: ReturnType<typeof networkInterfaces> = {
  lo: [address('127.0.0.1', true), address('::1', true)],
  eth0: [address('fe80::1'), address('192.0.2.7'), address('2001:db8::7')],
  ib0: [address('10.10.0.7'), address('169.254.3.3')],
};
const ALL: ResolvedListen = { on: [], ports: [0, 0], advertise: [] };

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'ff-doors-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const open = (at: string, listen: ResolvedListen | undefined): Promise<Doors> =>
  openDoors({
    socket: join(at, 'p.sock'),
    listen,
    file: join(at, 'door.json'),
    hostname: 'login1',
    nowMs: systemClock.now(),
    random: systemRandom,
  });

t.test('without a batch scheduler there is a socket and no port', async (t) => {
  t.equal(resolveAgentConfig({}).blocks.listen, undefined);
  await using doors = await open(folder(), resolveAgentConfig({}).blocks.listen);
  t.equal(doors.plate(), undefined);
  t.equal(doors.acceptors.length, 1);
});

t.test(
  'with one, pilots are told the admin’s address, the host’s name and every interface, not loopback nor link-local',
  async (t) => {
    t.strictSame(resolveAgentConfig({ blocks: { scheduler: 'slurm' } }).blocks.listen, ALL);
    t.strictSame(candidates(ALL, 5000, 'login1', INTERFACES), [
      'login1:5000',
      '192.0.2.7:5000',
      '10.10.0.7:5000',
      '[2001:db8::7]:5000',
    ]);
    const advertise = ['login.site.example', 'gate.site.example:6000', '2001:db8::9', '[2001:db8::8]:7000'];
    t.strictSame(candidates({ ...ALL, on: ['ib0'], advertise }, 5000, 'login1', INTERFACES), [
      'login.site.example:5000',
      'gate.site.example:6000',
      '[2001:db8::9]:5000',
      '[2001:db8::8]:7000',
      '10.10.0.7:5000',
    ]);
  },
);

t.test('an interface that is not there, a range that is none: said when the configuration is read', async (t) => {
  await t.rejects(open(folder(), { ...ALL, on: ['nope0'] }), {
    code: 'E_USAGE',
    message: /no interface or address nope0/,
  });
  t.throws(() => resolveAgentConfig({ blocks: { listen: { ports: [6000, 5000] } } }), {
    message: /6000 is above 5000/,
  });
});

t.test('port and certificate are those of the life before, in a file for nobody else', async (t) => {
  const at = folder();
  const listen: ResolvedListen = { ...ALL, on: ['127.0.0.1'] };
  const before = await open(at, listen);
  const plate = before.plate();
  await before[Symbol.asyncDispose]();
  t.equal(statSync(join(at, 'door.json')).mode & 0o777, 0o600);
  await using after = await open(at, listen);
  t.strictSame(after.plate(), plate);
  const { addresses = [], pin = '' } = after.plate() ?? {};
  const link = await tlsDialler({ where: () => ({ addresses, pin }), clock: systemClock }).dial(
    AbortSignal.timeout(9000),
  );
  t.equal(link.transport, 'tls');
  link.close();
  await link.closed;
});

t.test('a door’s file that was cut off stops the start and says what to do', async (t) => {
  const at = folder();
  writeFileSync(join(at, 'door.json'), '{"key":', { mode: 0o600 });
  await t.rejects(open(at, { ...ALL, on: ['127.0.0.1'] }), { code: 'E_CONFLICT', message: /remove it/ });
  // And leaves nothing open behind it.
  await t.rejects(
    new Promise((resolve, reject) => connect({ path: join(at, 'p.sock') }, () => resolve(0)).once('error', reject)),
  );
});

t.test('the port is of the range that a firewall lets through', async (t) => {
  await using first = await open(folder(), { ...ALL, on: ['127.0.0.1'] });
  const { port } = splitAddress(first.plate()?.addresses[0] ?? '');
  await using next = await open(folder(), { ...ALL, on: ['127.0.0.1'], ports: [port, port + 30] });
  const chosen = splitAddress(next.plate()?.addresses[0] ?? '').port;
  t.ok(chosen > port && chosen <= port + 30);
});
