/** The command line as people meet it: help, mistakes, exit codes, and text from elsewhere that stays text. */
import '../leaks.ts';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { type CliContext, EXIT, exitCodeOf } from '#base/cli.ts';
import { createManualClock, type ManualClock, systemClock } from '#base/clock.ts';
import { createKeyFile } from '#base/keys.ts';
import { systemRandom } from '#base/random.ts';
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import { ticketId } from '#kernel/ids.ts';
import { packToJson } from '#kernel/receipts.ts';
import { runCli } from '../../client/cli/main.ts';
import {
  createFakeEndpoint,
  type FakeBroker,
  type FakeEndpoint,
  sendJson,
  startFakeBroker,
} from '../fakes/broker-http.ts';
import { delegation, MANIFEST } from './parts.ts';

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Desk {
  readonly folder: string;
  readonly clock: ManualClock;
  readonly endpoint: FakeEndpoint;
  readonly broker: FakeBroker;
  readonly principal: string;
  farfield(...argv: string[]): Promise<Ran>;
}

/** A user's folder, logged in unless it says otherwise, beside a broker's double. */
async function openDesk(t: Test, loggedIn = true): Promise<Desk> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-desk-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const clock = createManualClock(systemClock.now());
  const endpoint = createFakeEndpoint(clock);
  const broker = await startFakeBroker(t, [endpoint]);
  const home = join(folder, 'home');
  mkdirSync(join(home, 'keys'), { recursive: true, mode: 0o700 });
  const principal = createKeyFile(join(home, 'keys', 'principal.pem'));
  const write = (name: string, value: unknown): void =>
    writeFileSync(join(home, name), JSON.stringify(value), { mode: 0o600 });
  if (loggedIn) {
    const session = createKeyFile(join(home, 'keys', 'session.pem'));
    write('profile.json', { url: broker.url, grpc: broker.url, ca: '', brokerId: 'B'.repeat(43) });
    write('session.json', { chain: [delegation(clock, principal, session, 3600)] });
    write('pins.json', [{ name: 'here', endpoint: endpoint.id, seq: 1 }]);
  }
  writeFileSync(join(folder, 'noop.manifest'), MANIFEST);
  return {
    folder,
    clock,
    endpoint,
    broker,
    principal: principal.kid,
    async farfield(...argv) {
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      const context: CliContext = {
        env: { FARFIELD_PROGRESS: '0' },
        stdin: new PassThrough(),
        stdout,
        stderr,
        cwd: folder,
        home,
        clock,
        random: systemRandom,
        signal: new AbortController().signal,
        self: [],
      };
      const code = await runCli(argv, context);
      const text = (stream: PassThrough): string => ((stream.read() as Buffer | null) ?? '').toString();
      return { code, stdout: text(stdout), stderr: text(stderr) };
    },
  };
}

const last = (text: string): unknown => JSON.parse(text.trim().split('\n').at(-1) ?? '');

/** Verbs below `path`, as its own help lists them. */
function verbsIn(help: string): string[] {
  const [, list = ''] = help.split('\nCommands:\n');
  return [...list.matchAll(/^ {2}([a-z-]+)/gm)].flatMap(([, name]) =>
    name === undefined || name === 'help' ? [] : name,
  );
}

t.test('every verb has help: a summary in one line, and a description of each argument and option', async (t) => {
  const { farfield } = await openDesk(t);
  let seen = 0;
  const visit = async (path: readonly string[]): Promise<void> => {
    const { code, stdout } = await farfield(...path, '--help');
    const name = `farfield ${path.join(' ')}`;
    seen += 1;
    if (code !== 0 || !stdout.startsWith(`Usage: ${name.trim()}`)) t.fail(`${name}: ${stdout}`);
    const summary = stdout.split('\n\n')[1] ?? '';
    if (!/^\S.{5,}$/.test(summary.replaceAll('\n', ' '))) t.fail(`${name} has no summary`);
    for (const line of stdout.split('\n'))
      if (/^ {2}(-\S.*|\S+)$/.test(line) && !/ {2,}\S/.test(line.trim())) t.fail(`${name}: nothing is said of ${line}`);
    for (const verb of verbsIn(stdout)) await visit([...path, verb]);
  };
  await visit([]);
  t.ok(seen > 25, `${seen} helps were read`);
  t.equal((await farfield('help', 'run')).stdout, (await farfield('run', '--help')).stdout, '`help VERB` is the same');
  t.match((await farfield('--help')).stdout, /Exit codes: 0 ok, 1 the work failed, 2 usage/);
});

t.test('a login keeps the name of the last one, under which sites have pinned the key', async (t) => {
  const { farfield } = await openDesk(t);
  t.match(last((await farfield('login', '--as', 'alice', '--json')).stdout), { as: 'alice' });
  t.match(last((await farfield('login', '--for', '1h', '--json')).stdout), { as: 'alice' });
});

t.test('what people type wrong is answered with what to do, by exit code, and as JSON on the last line', async (t) => {
  const { farfield, folder, clock } = await openDesk(t);
  writeFileSync(join(folder, 'data.xyz'), 'x');
  writeFileSync(join(folder, 'bad.json'), '{');
  const run = (arg: string): string[] => ['run', 'noop.manifest', '--endpoint', 'here', '--arg', arg];
  const cases: [string[], number, ErrorCode, RegExp][] = [
    [['stauts'], EXIT.usage, 'E_USAGE', /Did you mean status/],
    [['keys', 'nwe'], EXIT.usage, 'E_USAGE', /Did you mean new/],
    [['result'], EXIT.usage, 'E_USAGE', /missing required argument 'id'/],
    [['result', 'zzz'], EXIT.usage, 'E_USAGE', /no invocation id: 32 hex digits/],
    [['run', 'noop.manifest'], EXIT.usage, 'E_USAGE', /--endpoint/],
    [
      ['run', 'noop.manifest', '--endpoint', 'here', '--tiemout', '1m'],
      EXIT.usage,
      'E_USAGE',
      /Did you mean --timeout/,
    ],
    [[...run('x=json:1'), '--timeout', 'soon'], EXIT.usage, 'E_USAGE', /write 90s, 15m, 12h or 4d/],
    [[...run('x=json:1'), '--cpus', 'two'], EXIT.usage, 'E_USAGE', /--cpus is a whole number/],
    [[...run('x=json:1'), '--uncertainty', 'guess'], EXIT.usage, 'E_USAGE', /l2, none, conformal, symmetry/],
    [[...run('x=json:1'), '--level', '95'], EXIT.usage, 'E_USAGE', /between 0 and 1/],
    [run('data.h5'), EXIT.usage, 'E_USAGE', /write NAME=FILE, NAME=endpoint:\/PATH or NAME=json:TEXT/],
    [run('x=endpoint:data.json'), EXIT.usage, 'E_USAGE', /absolute/],
    [run('x=data.xyz'), EXIT.usage, 'E_USAGE', /must end in \.h5/],
    [run('x=json:{'), EXIT.badInput, 'E_INPUT', /not JSON/],
    [run('x=data.h5'), EXIT.usage, 'E_USAGE', /x must be json, not hdf5; test\/noop takes x \(json\)/],
    [run('y=json:1'), EXIT.usage, 'E_USAGE', /has no argument y; test\/noop takes x \(json\)/],
    [['run', 'noop.manifest', '--endpoint', 'here'], EXIT.usage, 'E_USAGE', /argument x is missing/],
    [[...run('x=json:1'), '--cpus', '0'], EXIT.usage, 'E_USAGE', /--cpus is a whole number of at least 1/],
    [[...run('x=json:1'), '--out', '/nowhere/x.json'], EXIT.badInput, 'E_INPUT', /cannot write in \/nowhere/],
    [[...run('x=json:1'), '--out', '/'], EXIT.badInput, 'E_INPUT', /is a folder/],
    [run('x=none.json'), EXIT.badInput, 'E_INPUT', /cannot read .*Is the path right/],
    [['run', 'none.manifest', '--endpoint', 'here'], EXIT.badInput, 'E_INPUT', /Is the path right/],
    [
      ['run', 'noop.manifest', '--endpoint', 'there', '--arg', 'x=json:1'],
      EXIT.notFound,
      'E_ENDPOINT_UNKNOWN',
      /pinned: here.*login --pin/,
    ],
    [['login', 'hello'], EXIT.usage, 'E_USAGE', /begins with ff1\./],
    [['login', 'ff1.AAAA'], EXIT.usage, 'E_USAGE', /copy it whole/],
    [['keys', 'new'], EXIT.failed, 'E_CONFLICT', /keys show principal/],
    [['receipt', 'verify', 'none.json'], EXIT.badInput, 'E_INPUT', /Is the path right/],
    [['receipt', 'verify', 'bad.json'], EXIT.badInput, 'E_INPUT', /no receipt file/],
    [['status', '0'.repeat(32)], EXIT.notFound, 'E_NOT_FOUND', /./],
  ];
  for (const [argv, code, name, says] of cases) {
    const json = await farfield(...argv, '--json');
    const { error } = last(json.stdout) as { error: { code: string; message: string } };
    t.match(
      { code: json.code, name: error.code, message: error.message },
      { code, name, message: says },
      argv.join(' '),
    );
    const people = await farfield(...argv);
    t.equal(people.code, code);
    t.equal(people.stdout, '', `${argv.join(' ')}: errors are no output`);
    t.match(people.stderr, says);
  }
  clock.advance(4000_000);
  const over = await farfield('status', '--json');
  t.match(last(over.stdout), { error: { code: 'E_CHAIN_EXPIRED', message: /farfield login/ } });
  t.equal(over.code, EXIT.unauthorised);
});

t.test('who is not logged in, or whose broker is away, is told so', async (t) => {
  const stranger = await openDesk(t, false);
  for (const argv of [['status'], ['events'], ['cancel', '0'.repeat(32)]]) {
    const { code, stdout } = await stranger.farfield(...argv, '--json');
    t.equal(code, EXIT.unauthorised);
    t.match(last(stdout), { error: { code: 'E_UNAUTHENTICATED', message: /farfield login/ } });
  }
  const desk = await openDesk(t);
  desk.broker.routes.set('GET /v1/invocations', (request) => void request.socket.destroy());
  const { code, stdout } = await desk.farfield('status', '--json');
  t.equal(code, EXIT.unavailable);
  t.match(last(stdout), { error: { code: 'E_UNAVAILABLE', message: /Is it running/ } });
});

t.test('each class of errors has its exit code', async (t) => {
  const classes: Record<number, ErrorCode[]> = {
    [EXIT.failed]: ['E_FUNCTION', 'E_RUN_TIMEOUT', 'E_CANCELLED', 'E_RETRIES_EXHAUSTED', 'E_OUTCOME_UNKNOWN'],
    [EXIT.usage]: ['E_USAGE'],
    [EXIT.unauthorised]: ['E_UNAUTHENTICATED', 'E_FORBIDDEN', 'E_CHAIN', 'E_CHAIN_EXPIRED', 'E_ENROLMENT'],
    [EXIT.notFound]: ['E_NOT_FOUND', 'E_ENDPOINT_UNKNOWN'],
    [EXIT.refused]: ['E_POLICY', 'E_CEILING', 'E_PATH', 'E_UNTRUSTED', 'E_REVOKED', 'E_LIFE'],
    [EXIT.unavailable]: ['E_UNAVAILABLE', 'E_ENDPOINT_OFFLINE', 'E_BUSY', 'E_TIMEOUT'],
    [EXIT.badInput]: ['E_INPUT', 'E_HDF5', 'E_MODEL', 'E_TOO_LARGE', 'E_DIGEST'],
    [EXIT.unresolved]: ['E_UNRESOLVED'],
    [EXIT.defect]: ['E_INTERNAL'],
  };
  for (const [code, names] of Object.entries(classes))
    for (const name of names) t.equal(exitCodeOf(new FarfieldError(name, 'x')), Number(code), name);
});

// Written as escapes: colours, a window's title, a change of direction, a bell, a carriage return.
const NASTY = 'a\u001b[31mb\u001b]0;owned\u0007c\u202ed\u0007e\rf\u009b2Jg';
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

t.test(
  'control characters from elsewhere reach no terminal; a failure, a result and a receipt end as they should',
  async (t) => {
    const { farfield, folder, broker, endpoint, principal } = await openDesk(t);
    const jti = '0190f1f0-0000-7000-8000-000000000001';
    const id = ticketId(principal, jti);
    const of = { principal, id, jti, ticketHash: `sha256:${'a'.repeat(64)}` };
    const status = {
      id,
      jti,
      principal,
      endpoint: endpoint.id,
      n: 2,
      fn: NASTY,
      counts: { running: 1 },
      cancelling: false,
      queuedAt: 0,
      exp: 0,
      items: [{ i: 0, state: 'admitted', detail: NASTY }],
      reason: NASTY,
    };
    const packs = [
      packToJson(endpoint.pack({ ...of, items: [0], result: `${JSON.stringify(NASTY)}\u009b2J` })),
      packToJson(endpoint.pack({ ...of, items: [1], status: 'failed' })),
    ];
    broker.routes.set('GET /v1/invocations/', (request, response) =>
      sendJson(response, request.url?.includes('/packs') ? { packs } : status),
    );
    const ran: Record<string, Ran> = {
      status: await farfield('status', id),
      result: await farfield('result', id),
      failed: await farfield('result', `${id}.1`),
      export: await farfield('receipt', 'export', `${id}.1`, '--out', 'r.json'),
      verify: await farfield('receipt', 'verify', 'r.json', '--endpoint', 'here'),
    };
    for (const [name, { stdout, stderr }] of Object.entries(ran))
      t.notMatch(stdout + stderr, CONTROLS, `${name}: ${JSON.stringify(stdout + stderr)}`);
    t.same(
      Object.values(ran).map(({ code }) => code),
      [EXIT.ok, EXIT.ok, EXIT.failed, EXIT.ok, EXIT.ok],
    );
    t.match(ran.failed?.stderr, /it failed \[E_FUNCTION\]/);
    t.match(ran.verify?.stdout, new RegExp(`receipt verified: ${id}.1 failed.*\nendpoint .*pinned as here`));
    const all = await farfield('result', id, '--all', '--json');
    t.equal(all.code, EXIT.failed, 'of several, a failed one decides');
    t.equal(all.stdout.trim().split('\n').length, 3, 'each item and the error');

    t.equal((await farfield('receipt', 'export', id, '--out', 'good.json')).code, EXIT.ok);
    t.equal((await farfield('result', id, '--out', 'result.json')).code, EXIT.ok);
    t.equal((await farfield('receipt', 'verify', 'good.json', '--result', 'result.json')).code, EXIT.ok);
    const other = await farfield('receipt', 'verify', 'good.json', '--result', 'r.json', '--json');
    t.match([other.code, last(other.stdout)], [EXIT.badInput, { error: { code: 'E_DIGEST' } }]);
    const who = await farfield('receipt', 'verify', 'good.json', '--endpoint', 'E'.repeat(43), '--json');
    t.match([who.code, last(who.stdout)], [EXIT.failed, { error: { code: 'E_RECEIPT', message: /signed it, not E/ } }]);
    const text = readFileSync(join(folder, 'good.json'), 'utf8').replace('"attempt": 1', '"attempt": 2');
    writeFileSync(join(folder, 'forged.json'), text);
    t.match((await farfield('receipt', 'verify', 'forged.json')).stderr, /not those that the endpoint signed/);
  },
);
