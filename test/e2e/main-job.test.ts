import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { outcomeError } from '../../client/ts/outcome.ts';
import { startWorld, VALIDATION } from './world.ts';

t.test('a no-op goes through all five processes and comes back with a verified receipt', async (t) => {
  await using world = await startWorld();
  await using client = await world.openClient();
  const { ticket } = await client.submit({
    terms: world.termsOf(client, world.noop),
    manifest: readFileSync(world.noop, 'utf8'),
    items: Array.from({ length: 50 }, (_, k) => ({
      args: [{ name: 'x', type: 'bytes' as const, bytes: Buffer.from(`item ${k}`) }],
    })),
  });
  const outcomes = await ticket.all();
  t.equal(outcomes.length, 50);
  t.ok(outcomes.every((outcome) => outcomeError(outcome) === undefined && outcome.result?.byteLength === 100));
  t.equal(
    new Set(outcomes.map((outcome) => Buffer.from(outcome.result ?? []).toString('hex'))).size,
    50,
    'each answer is its own',
  );
});

t.test('what a user signs and saves is what the site asks its policy about', async (t) => {
  await using world = await startWorld();
  const file = join(world.folder, 'call.json');
  const save = (...more: string[]) =>
    world.json('user', 'submit', world.noop, '--endpoint', 'here', '--arg', 'x=json:1', '--save', file, ...more);
  t.match(await save(), { file });
  t.match(await world.json('site', 'policy', 'test', file), { outcome: 'admit', rule: /./ });
  await save('--timeout', '9h');
  const refused = await world.farfield('site', 'policy', 'test', file);
  t.equal(refused.code, 5, 'refused by policy');
  t.match(refused.stdout, /wallS|32400/);
  t.same(JSON.parse((await world.farfield('user', 'status', '--json')).stdout), [], 'nothing was submitted');
});

t.test('a refusal without a receipt of its own is told to whoever asks later, too', async (t) => {
  await using world = await startWorld();
  await world.json('user', 'login', '--as', 'somebody-else');
  const submitted = await world.json('user', 'submit', world.noop, '--endpoint', 'here', '--arg', 'x=json:1');
  const id = String(submitted.id);
  for (let state = {}; !('refused' in state); )
    state = (await world.json('user', 'status', id)).counts as Record<string, number>;
  const late = await world.farfield('user', 'result', id, '--json');
  t.equal(late.code, 5, late.stdout);
  t.match(JSON.parse(late.stdout.trim().split('\n').at(-1) ?? ''), {
    error: { code: 'E_UNTRUSTED', message: /the endpoint refused the ticket/ },
  });
});

t.test('the model runs over the file of 13,799 patches, in place and uploaded, with one error summary', async (t) => {
  await using world = await startWorld();
  const out = join(world.folder, 'out.h5');
  const args = (file: string) => ['--arg', `patches=${file}:/patches`, '--arg', `truth=${file}:/true_xy`, '--out', out];
  const summaries = [];
  for (const file of [`endpoint:${VALIDATION}`, VALIDATION]) {
    const done = await world.json('user', 'run', world.bragg, '--endpoint', 'here', ...args(file));
    t.equal(done.status, 'succeeded');
    t.match(done.receipt, { verified: true, endpoint: world.endpoint });
    summaries.push((done.rep as { summary: { n: number; mean: number } }).summary);
    t.ok(readFileSync(out).byteLength > 100_000, 'predictions came back as a file');
  }
  t.equal(summaries[0]?.n, 13_799);
  t.strictSame(summaries[0], summaries[1], 'the way of the data changes nothing');
  const asked = ['--uncertainty', 'symmetry', '--samples', '20', '--level', '0.8'];
  const patches = `patches=endpoint:${VALIDATION}:/patches`;
  const sampled = await world.json('user', 'run', world.bragg, '--endpoint', 'here', '--arg', patches, ...asked);
  t.match(sampled.rep, { uncertainty: { levels: [0.8, 0.9, 0.95], symmetry: { rows: 20, unstable: Number } } });
});
