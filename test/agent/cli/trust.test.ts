import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { generateKey, signerFrom } from '#kernel/jws.ts';
import { readPolicy } from '../../../agent/admission/policy.ts';
import { parseUntil } from '../../../agent/cli/common.ts';
import { trustKey } from '../../../agent/cli/trust.ts';
import { policyTemplate } from '../../../agent/config.ts';

const NOW_MS = 1_800_000_000_000;
const uid = process.getuid?.() ?? 0;

function policyFile(t: Test): { path: string; endpoint: string } {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-trust-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const endpoint = signerFrom(generateKey()).kid;
  const path = join(folder, 'policy.yaml');
  writeFileSync(path, policyTemplate(endpoint), { mode: 0o600 });
  return { path, endpoint };
}

t.test('the policy that init writes is good, and allows nothing', async (t) => {
  const { path, endpoint } = policyFile(t);
  t.match(readPolicy(path, endpoint, uid), { rules: [], authorities: { publisherKeys: [] } });
});

t.test('a trusted key is pinned, and what else stands in the file stays, comments included', async (t) => {
  const { path, endpoint } = policyFile(t);
  const { kid } = signerFrom(generateKey());
  t.same(await trustKey(path, endpoint, { kid, name: 'alice', untilS: 1_900_000_000 }), { renewed: false });
  t.match(readPolicy(path, endpoint, uid).authorities.pinned.get(kid), { name: 'alice', untilS: 1_900_000_000 });
  t.match(readFileSync(path, 'utf8'), /# Who may run what on this endpoint/);
  t.same(await trustKey(path, endpoint, { kid, name: 'alice', untilS: 1_900_000_060 }), { renewed: true });
  t.equal(readPolicy(path, endpoint, uid).authorities.pinned.size, 1, 'renewed, not doubled');
});

t.test('a policy that the agent would refuse is left as it was', async (t) => {
  const { path, endpoint } = policyFile(t);
  const broken = `${readFileSync(path, 'utf8')}\nrulez: []\n`;
  writeFileSync(path, broken);
  const { kid } = signerFrom(generateKey());
  await t.rejects(trustKey(path, endpoint, { kid, name: 'alice', untilS: 1_900_000_000 }), {
    code: 'E_BAD_REQUEST',
    message: /rulez/,
  });
  t.equal(readFileSync(path, 'utf8'), broken);
  await t.rejects(trustKey(path, endpoint, { kid: 'short', name: 'alice', untilS: 1 }), { code: 'E_USAGE' });
});

t.test('a policy of another endpoint, one that others may write, and a link are refused', async (t) => {
  const { path, endpoint } = policyFile(t);
  const { chmodSync, symlinkSync } = await import('node:fs');
  t.throws(() => readPolicy(path, signerFrom(generateKey()).kid, uid), { code: 'E_BAD_REQUEST' });
  symlinkSync(path, `${path}.link`);
  t.throws(() => readPolicy(`${path}.link`, endpoint, uid), { code: 'E_FORBIDDEN' });
  chmodSync(path, 0o622);
  t.throws(() => readPolicy(path, endpoint, uid), { code: 'E_FORBIDDEN', message: /chmod go-w/ });
});

t.test('an end is a date, a time with its zone, or a duration', async (t) => {
  const now = NOW_MS / 1000;
  t.equal(parseUntil('90s', NOW_MS), now + 90);
  t.equal(parseUntil('2d', NOW_MS), now + 2 * 86_400);
  t.equal(parseUntil('2027-01-01', NOW_MS), Date.UTC(2027, 0, 1) / 1000);
  t.equal(parseUntil('2027-01-01T12:00+01:00', NOW_MS), Date.UTC(2027, 0, 1, 11) / 1000);
  for (const text of ['', 'tomorrow', '2027-01-01T12:00', '2027-13-01', '-1h', '1w']) {
    t.throws(() => parseUntil(text, NOW_MS), { code: 'E_USAGE' }, text);
  }
});
