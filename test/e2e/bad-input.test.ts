/**
 * What people and machines do wrong, on real processes: a clear answer, the right exit code, and nothing lost.
 * After each case the account is checked: every call that was ever taken has ended as it should, and a good one still runs.
 *
 * Where a case needs no processes, or has many of them, its test stands elsewhere:
 *
 *   wrong data set path, shape, dtype          here; test/runner/job.test.ts "arguments that do not fit are refused with what is
 *                                              wrong and what would fit"
 *   NaN patches                                here; test/runner/rows.test.ts "a patch with NaN or infinity is zeroed for the
 *                                              model, flagged, and predicted as NaN"
 *   truncated file, corrupt chunk, filter      here; test/runner/hdf5.test.ts "a damaged chunk is noticed ...", "a truncated
 *                                              file, an empty one ...", "an unknown filter is named ..."
 *   no ONNX, external data outside its folder  test/e2e/bad-model.test.ts; test/runner/model.test.ts "what is not an ONNX model
 *                                              ...", "external data are read from listed files inside the folder alone"
 *   arguments over the limit                   here (client); test/broker/submission.test.ts "each bent ticket ..." (broker)
 *   unknown endpoint                           here (name, id); test/broker/submission.test.ts "each bent ticket ..."
 *   expired, altered, re-targeted ticket;      test/e2e/tickets.test.ts, at the broker and at the endpoint; every field of every
 *   batch with a swapped or missing item       message: test/security/hostile-broker.test.ts
 *   jti used again; the same ticket again      test/broker/submission.test.ts "the same ticket again is known with its state
 *                                              ..."; test/agent/admission/admit.test.ts "the same jti with another ticket is
 *                                              refused, and the first one stands", "the same ticket delivered twice runs once ..."
 *   policy refusal, ceiling                    here; test/kernel/admission.test.ts "every ceiling refuses on its own ..."
 *   path outside the rule's, by a link too     here
 *   endpoint offline, without and with a wait  here; three days of a clock, through broker and agent: test/e2e/patience.test.ts
 *   disk full at broker and agent (page        test/e2e/disk-full.test.ts; test/agent/agent.test.ts "a ledger that is full loses
 *   limit, tmpfs)                              nothing ..."; below the stores: test/base/sqlite/disk.test.ts "a full disk refuses
 *                                              commands while it is full ..."
 *   two agents with one key                    test/e2e/two-agents.test.ts; test/agent/fence.test.ts
 *   older and newer peers and stores           test/e2e/versions.test.ts
 */
import '../leaks.ts';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { signerFrom } from '#kernel/jws.ts';
import { generateKey } from '#kernel/sign.ts';
import type { TicketTerms } from '../../client/ts/submission.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { type Ran, startWorld, VALIDATION, type World } from './world.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/runner/', import.meta.url));
const EXIT = { notFound: 4, refused: 5, unavailable: 6, badInput: 7 };
const ENDED = new Set(['succeeded', 'failed', 'refused', 'expired', 'cancelled']);

/** Files that the rule lets calls read: some good, some not. */
async function makeData(): Promise<string> {
  const data = mkdtempSync(join(tmpdir(), 'farfield-data-'));
  const library = await createHdf5Loader().acquire();
  const values = new Float32Array(64 * 121).map((_, k) => (k * 37) % 101);
  values[3 * 121 + 60] = Number.NaN;
  values[7 * 121] = Number.POSITIVE_INFINITY;
  using writer = new Hdf5Writer(library, join(data, 'nan.h5'), { chunkRows: 16, durable: false });
  writer.createDataset('/patches', 'f4', [64, 11, 11]);
  writer.writeRows('/patches', 0, 64, new Uint8Array(values.buffer));
  writer.commit();
  for (const name of ['filters.h5', 'damaged-gzip.h5']) copyFileSync(join(FIXTURES, name), join(data, name));
  copyFileSync(VALIDATION, join(data, 'truncated.h5'));
  truncateSync(join(data, 'truncated.h5'), statSync(VALIDATION).size >> 1);
  return data;
}

/** Every call of this user has ended by a receipt, and one more no-op runs. By the library: a command costs a second of CPU. */
async function intact(t: Test, world: World): Promise<void> {
  await using client = await world.openClient();
  const items = [{ args: [{ name: 'x', type: 'json' as const, bytes: Buffer.from('"good"') }] }];
  const terms = world.termsOf(client, world.noop);
  const { ticket } = await client.submit({ terms, manifest: readFileSync(world.noop, 'utf8'), items });
  t.match(await ticket.item(0), { status: 'succeeded' }, 'a good call runs');
  for (const { id, n, counts } of await client.list()) {
    const ended = Object.entries(counts).reduce((sum, [state, count]) => sum + (ENDED.has(state) ? count : 0), 0);
    if (ended !== n) t.fail(`${id} has not ended: ${JSON.stringify(counts)}`);
  }
}

interface Wrong {
  readonly code: number;
  readonly error: { readonly code: string; readonly message: string };
}

function wrongOf({ code, stdout, stderr }: Ran): Wrong {
  try {
    return { code, error: (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { error: Wrong['error'] }).error };
  } catch {
    return { code, error: { code: 'none', message: `${stdout}${stderr}` } };
  }
}

/** A world whose rule lets calls read a folder of good and bad files. */
interface Setting {
  readonly world: World;
  readonly data: string;
  /** Runs the model on an argument as the command line takes it. */
  bragg(file: string, ...more: string[]): Promise<Wrong>;
}

async function badFiles(t: Test, { world, data, bragg }: Setting): Promise<void> {
  const cases: readonly (readonly [string, string, object])[] = [
    [
      'a wrong data set path lists what there is',
      `endpoint:${VALIDATION}:/nothing`,
      { code: 'E_INPUT', message: /the file holds .*\/patches \[13799, 11, 11\]/ },
    ],
    [
      'a wrong shape',
      `endpoint:${VALIDATION}:/true_xy`,
      { code: 'E_INPUT', message: /has the shape \[13799, 2\]; \[n, 11, 11\] is needed/ },
    ],
    [
      'a wrong type of element',
      `endpoint:${data}/filters.h5:/text`,
      { code: 'E_INPUT', message: /text of variable length/ },
    ],
    ['an unknown filter', `endpoint:${data}/filters.h5:/unknown`, { code: 'E_HDF5', message: /filter 32024/ }],
    ['a corrupt chunk', `endpoint:${data}/damaged-gzip.h5:/patches`, { code: 'E_HDF5', message: /a chunk is damaged/ }],
    ['a truncated file', `endpoint:${data}/truncated.h5:/patches`, { code: 'E_HDF5', message: /truncated file/ }],
    ['a truncated file, uploaded', `${data}/truncated.h5:/patches`, { code: 'E_HDF5', message: /truncated file/ }],
  ];
  for (const [what, file, error] of cases) t.match(await bragg(file), { code: EXIT.badInput, error }, what);
  t.match(await bragg(`${data}/gone.h5:/patches`), {
    code: EXIT.badInput,
    error: { code: 'E_INPUT', message: /Is the path right/ },
  });
  await intact(t, world);
}

async function flagged(t: Test, { world, data }: Setting): Promise<void> {
  const out = join(data, 'nan-out.h5');
  const ran = await world.farfield(
    'user',
    'run',
    world.bragg,
    '--endpoint',
    'here',
    '--arg',
    `patches=endpoint:${data}/nan.h5:/patches`,
    '--out',
    out,
    '--json',
  );
  t.equal(ran.code, 0, ran.stdout + ran.stderr);
  const library = await createHdf5Loader().acquire();
  using file = Hdf5File.open(library, out, 'out');
  const read = (name: string): Float64Array => {
    using dataset = file.dataset(name);
    return readNumbers(dataset);
  };
  const [xy, flags] = [read('/pred'), read('/flags')];
  const bad = Array.from({ length: 64 }, (_, k) => k).filter((k) => Number.isNaN(xy[2 * k]));
  t.same(bad, [3, 7], 'these two rows are NaN');
  t.ok(
    bad.every((k) => flags[k] !== 0),
    'and say why by a flag',
  );
  await intact(t, world);
}

async function paths(t: Test, { world, data, bragg }: Setting): Promise<void> {
  symlinkSync('/etc/hostname', join(data, 'link.h5'));
  symlinkSync(world.folder, join(data, 'folder'));
  copyFileSync(VALIDATION, join(world.folder, 'private.h5'));
  for (const path of ['/etc/shadow.h5', `${data}/../x.h5`, `${data}/link.h5`, `${data}/folder/private.h5`]) {
    t.match(await bragg(`endpoint:${path}:/patches`), { code: EXIT.refused, error: { code: 'E_PATH' } }, path);
  }
  const gone = await bragg(`endpoint:${data}/gone.h5:/patches`);
  t.not(gone.code, 0);
  t.match(gone.error.message, /gone\.h5|missing|not there|no such/i, 'a file that is not there is named');
  await intact(t, world);
}

async function policyAndLimits(t: Test, { world }: Setting): Promise<void> {
  await using client = await world.openClient();
  const manifest = readFileSync(world.noop, 'utf8');
  const submit = async (terms: Partial<TicketTerms>, bytes: Uint8Array = Buffer.from('1')): Promise<unknown> => {
    const { ticket } = await client.submit({
      terms: world.termsOf(client, world.noop, terms),
      manifest,
      items: [{ args: [{ name: 'x', type: 'json', bytes }] }],
    });
    const outcome = await ticket.item(0);
    return { status: outcome.status, ...outcome.detail.err };
  };
  t.match(await submit({ runtimes: ['apptainer'] }), { status: 'refused', code: 'E_POLICY', message: /./ });
  const resources = { nodes: 100, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 64, wallS: 60 };
  t.match(await submit({ resources }), { status: 'refused', code: 'E_CEILING', message: /nodes/ });
  await t.rejects(submit({}, Buffer.alloc(70_000, 49)), {
    code: 'E_TOO_LARGE',
    message: /70000 bytes; inline is up to 65536. Upload it as a blob/,
  });
  const late = wrongOf(
    await world.farfield(
      'user',
      'run',
      world.noop,
      '--endpoint',
      'here',
      '--arg',
      'x=json:1',
      '--timeout',
      '2h',
      '--json',
    ),
  );
  t.match(late, { code: EXIT.refused, error: { code: 'E_CEILING', message: /wallS|7200|wall/ } });
  await intact(t, world);
}

async function unknownEndpoints(t: Test, { world }: Setting): Promise<void> {
  const run = async (name: string): Promise<Wrong> =>
    wrongOf(await world.farfield('user', 'run', world.noop, '--endpoint', name, '--arg', 'x=json:1', '--json'));
  t.match(await run('there'), {
    code: EXIT.notFound,
    error: { code: 'E_ENDPOINT_UNKNOWN', message: /pinned: here/ },
  });
  const { kid } = signerFrom(generateKey());
  t.match(await run(kid), { code: EXIT.notFound, error: { code: 'E_ENDPOINT_UNKNOWN', message: /--pin NAME=/ } });
  await using client = await world.openClient();
  const items = [{ args: [{ name: 'x', type: 'json' as const, bytes: Buffer.from('1') }] }];
  const terms = { ...world.termsOf(client, world.noop), endpoint: kid };
  await t.rejects(client.submit({ terms, manifest: readFileSync(world.noop, 'utf8'), items }), {
    code: 'E_ENDPOINT_UNKNOWN',
  });
  await intact(t, world);
}

async function offline(t: Test, { world }: Setting): Promise<void> {
  await world.json('site', 'endpoint', 'stop');
  const call = ['submit', world.noop, '--endpoint', 'here', '--arg', 'x=json:1', '--json'];
  const refused = wrongOf(await world.farfield('user', ...call));
  t.match(refused, { code: EXIT.unavailable, error: { code: 'E_ENDPOINT_OFFLINE', message: /--queue-for/ } });
  await world.json('user', 'login', '--as', 'alice', '--queue-for', '4d', '--endpoint', 'here');
  const queued = await world.json('user', ...call.slice(0, -1));
  t.match(queued, { outcome: 'queued', note: /offline since .*queued/ });
  t.match(await world.json('user', 'status', String(queued.id)), { counts: { queued: 1 }, reason: /offline/ });
  await world.json('site', 'endpoint', 'start', '--detach');
  const result = await world.farfield('user', 'result', String(queued.id), '--json');
  t.equal(result.code, 0, result.stdout + result.stderr);
  t.match(await world.json('user', 'status', String(queued.id)), { counts: { succeeded: 1 } });
  await intact(t, world);
}

t.test('bad input is answered clearly, and nothing is lost', async (t) => {
  t.setTimeout(280_000);
  const data = await makeData();
  t.teardown(() => rmSync(data, { recursive: true, force: true }));
  await using world = await startWorld({ readable: [data] });
  const bragg = async (file: string, ...more: string[]): Promise<Wrong> =>
    wrongOf(
      await world.farfield(
        'user',
        'run',
        world.bragg,
        '--endpoint',
        'here',
        '--arg',
        `patches=${file}`,
        ...more,
        '--json',
      ),
    );
  const setting = { world, data, bragg };
  await t.test('files that do not hold what the model needs', (t) => badFiles(t, setting));
  await t.test('patches with NaN or infinity come back flagged, the others as ever', (t) => flagged(t, setting));
  await t.test('paths outside the rule, by name and by a link', (t) => paths(t, setting));
  await t.test('what policy and limits do not allow', (t) => policyAndLimits(t, setting));
  await t.test('endpoints that nobody knows', (t) => unknownEndpoints(t, setting));
  await t.test('an endpoint that is offline: refused without a wait, queued with one, run when it returns', (t) =>
    offline(t, setting),
  );
});
