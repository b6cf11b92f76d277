import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openDescriptor, openStatus } from '#kernel/endpoint.ts';
import { readInvitation } from '../../../agent/identity/enrol.ts';
import { agentFolder, prepareFolder } from '../../../agent/identity/folder.ts';
import { openIdentity, readIdentity, signStatus } from '../../../agent/identity/identity.ts';
import { createEndpoint, renewEndpoint, rootFile } from '../../../agent/identity/root.ts';

const NOW = 1_800_000_000;
const DAY = 86_400;

function place(t: Test) {
  const home = mkdtempSync(join(tmpdir(), 'farfield-identity-'));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  return { home, folder: agentFolder(join(home, 'agent')), roots: join(home, 'roots') };
}

t.test('an endpoint is its root key, which lies nowhere in the agent’s folder', async (t) => {
  const { folder, roots } = place(t);
  const made = await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
  const { claims } = openDescriptor(readFileSync(folder.descriptor, 'utf8'), { nowS: NOW, endpoint: made.endpoint });
  t.equal(claims.iss, made.endpoint);
  t.not(claims.sign.x, claims.jwk.x, 'the online key is another one');
  const pem = readFileSync(rootFile(roots, made.endpoint), 'utf8');
  for (const entry of readdirSync(folder.root, { recursive: true, withFileTypes: true })) {
    if (entry.isFile())
      t.notMatch(readFileSync(join(entry.parentPath, entry.name), 'utf8'), pem.split('\n')[1] ?? 'no');
  }
  t.equal(statSync(folder.onlineKey).mode & 0o077, 0);
  t.equal(statSync(rootFile(roots, made.endpoint)).mode & 0o077, 0);
});

t.test('root keys inside the agent’s folder are refused before anything is made', async (t) => {
  const { folder } = place(t);
  await t.rejects(createEndpoint({ name: 'site', folder, roots: join(folder.root, 'roots'), nowS: NOW }), {
    code: 'E_USAGE',
  });
  t.notOk(existsSync(folder.root));
});

t.test('a folder that is an endpoint already is not made another', async (t) => {
  const { folder, roots } = place(t);
  await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
  const before = readFileSync(folder.descriptor, 'utf8');
  await t.rejects(createEndpoint({ name: 'other', folder, roots, nowS: NOW }), { code: 'E_CONFLICT' });
  t.equal(readFileSync(folder.descriptor, 'utf8'), before);
});

t.test(
  'a renewal raises seq and keeps the key; a rotation changes it; a running agent takes both over, never back',
  async (t) => {
    const { folder, roots } = place(t);
    await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
    const first = readFileSync(folder.descriptor, 'utf8');
    const source = openIdentity(folder, NOW);
    const key = source.current.signer.kid;
    t.match(await renewEndpoint({ folder, roots, nowS: NOW + 20 * DAY, rotate: false }), { seq: 2 });
    t.match(source.reload(NOW + 20 * DAY), { seq: 2, signer: { kid: key } });
    t.match(await renewEndpoint({ folder, roots, nowS: NOW + 20 * DAY, rotate: true }), { seq: 3 });
    t.not(source.reload(NOW + 20 * DAY).signer.kid, key);
    writeFileSync(folder.descriptor, first);
    t.throws(() => source.reload(NOW + DAY), { code: 'E_CONFLICT' }, 'a rolled-back descriptor');
    t.equal(source.current.seq, 3, 'the one in force stays');
  },
);

t.test('an online key that is over, or not the one that the root named, starts nothing', async (t) => {
  const { folder, roots } = place(t);
  const other = place(t);
  await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
  t.throws(() => readIdentity(folder, NOW + 31 * DAY), { code: 'E_EXPIRED' });
  await createEndpoint({ name: 'other', folder: other.folder, roots: other.roots, nowS: NOW });
  writeFileSync(folder.onlineKey, readFileSync(other.folder.onlineKey), { mode: 0o600 });
  t.throws(() => readIdentity(folder, NOW), { code: 'E_FORBIDDEN' });
});

t.test('only the root of this endpoint renews it', async (t) => {
  const { folder, roots } = place(t);
  const other = place(t);
  const { endpoint } = await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
  const stranger = await createEndpoint({ name: 'other', folder: other.folder, roots: other.roots, nowS: NOW });
  rmSync(rootFile(roots, endpoint));
  await t.rejects(renewEndpoint({ folder, roots, nowS: NOW, rotate: false }), { code: 'E_NOT_FOUND' });
  writeFileSync(rootFile(roots, endpoint), readFileSync(rootFile(other.roots, stranger.endpoint)), { mode: 0o600 });
  await t.rejects(renewEndpoint({ folder, roots, nowS: NOW, rotate: false }), { code: 'E_FORBIDDEN' });
});

t.test('a status is the online key’s word, and names the endpoint', async (t) => {
  const { folder, roots } = place(t);
  await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
  const identity = readIdentity(folder, NOW);
  const facts = {
    policy: `sha256:${'0'.repeat(64)}`,
    ledgerEpoch: { n: 2, since: NOW },
    runtimes: ['process'],
    state: 'paused',
    reason: 'why',
  } as const;
  const descriptor = openDescriptor(identity.descriptor, { nowS: NOW });
  t.match(openStatus(signStatus(identity, facts, NOW), descriptor).claims, {
    endpoint: identity.endpoint,
    state: 'paused',
    reason: 'why',
    ledgerEpoch: { n: 2 },
  });
});

t.test('a folder that others can enter is refused, with the command that mends it', async (t) => {
  const { folder } = place(t);
  prepareFolder(folder);
  const { chmodSync } = await import('node:fs');
  chmodSync(folder.root, 0o755);
  t.throws(() => prepareFolder(folder), { code: 'E_FORBIDDEN', message: /chmod 700/ });
});

t.test('what is no invitation is told so', async (t) => {
  for (const token of [
    '',
    'ff1',
    'ff1.',
    'ff1.e30',
    'ff1.!!!!',
    `ff1.${Buffer.from('{"url":1}').toString('base64url')}`,
  ]) {
    t.throws(() => readInvitation(token), { code: /E_USAGE|E_ENROLMENT/ }, token);
  }
});
