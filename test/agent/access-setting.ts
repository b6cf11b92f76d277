/** An endpoint's folder with a template for grants, a stranger who asks, the real desk and the admin's real verbs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { Test } from 'tap';
import type { CliContext } from '#base/cli.ts';
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { systemRandom } from '#base/random.ts';
import { openChain } from '#kernel/chain.ts';
import { openToken, signToken } from '#kernel/jws.ts';
import type { AccessClaims, Claims, DelegationClaims } from '#kernel/tokens/claims.ts';
import { type AccessDesk, openAccessDesk } from '../../agent/admission/access.ts';
import { openPolicy, type PolicySource } from '../../agent/admission/policy.ts';
import { type AgentFolder, agentFolder } from '../../agent/identity/folder.ts';
import { openIdentity } from '../../agent/identity/identity.ts';
import { createEndpoint } from '../../agent/identity/root.ts';
import { runCli } from '../../client/cli/main.ts';
import { NOW, newDelegation, newJti, newParty, type Party } from '../kernel/parties.ts';

export const DAY_S = 86_400;
export const uid = process.getuid?.() ?? 0;

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Office {
  readonly folder: AgentFolder;
  readonly endpoint: string;
  readonly clock: ManualClock;
  readonly policy: PolicySource;
  readonly desk: AccessDesk;
  readonly changes: string[];
  writePolicy(changes?: Record<string, unknown>): void;
  farfield(...argv: string[]): Promise<Ran>;
  /** What the endpoint answers, verified with its online key. */
  send(asked: { token: string; chain: readonly string[] }): Promise<Claims<'farfield-access-answer+jwt'>>;
}

/** What somebody signs who wants access. */
export function asks(
  who: Party,
  endpoint: string,
  more: { claims?: Partial<AccessClaims>; delegation?: Partial<DelegationClaims> } = {},
): { token: string; chain: readonly string[] } {
  const chain = [newDelegation(who, { sub: { iss: 'pin', id: 'bob' }, ...more.delegation })];
  const { delegation } = openChain(chain);
  const claims: AccessClaims = {
    v: 1,
    iss: who.session.kid,
    sub: delegation.claims.sub,
    dlg: delegation.hash,
    aud: endpoint,
    jti: newJti(),
    iat: NOW,
    exp: NOW + 300,
    ask: { op: 'request', functions: ['peaks/braggnn'], reason: 'beamtime', forS: 7 * DAY_S },
    ...more.claims,
  };
  return { token: signToken('farfield-access+jwt', claims, who.session), chain };
}

export async function openOffice(t: Test): Promise<Office> {
  const home = mkdtempSync(join(tmpdir(), 'farfield-access-'));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const clock = createManualClock(NOW * 1000);
  const folder = agentFolder(join(home, 'state'));
  const { endpoint } = await createEndpoint({ name: 'site', folder, roots: join(home, 'roots'), nowS: NOW });
  const known = newParty();
  const writePolicy = (changes: Record<string, unknown> = {}): void =>
    writeFileSync(
      folder.policy,
      JSON.stringify({
        authorities: {
          pinned: [{ kid: known.principal.kid, name: 'alice', until: NOW + 365 * DAY_S }],
          publishers: [{ name: 'lab', jwks: [known.publisher.jwk] }],
        },
        rules: [
          {
            name: 'visitors',
            who: { granted: true },
            functions: { publisher: 'lab' },
            resources: { accounts: ['MAT'] },
          },
          { name: 'staff', who: { pin: 'alice' }, functions: { publisher: 'lab' } },
        ],
        grants: { rules: ['visitors'], maxS: 30 * DAY_S },
        ...changes,
      }),
      { mode: 0o600 },
    );
  writePolicy();
  writeFileSync(folder.config, '', { mode: 0o600 });
  const identity = openIdentity(folder, NOW);
  const log = createLogger({ name: 'agent', level: 'silent' });
  const changes: string[] = [];
  const nowS = (): number => clock.now() / 1000;
  const policy = openPolicy({
    path: folder.policy,
    ...{ endpoint, uid, nowS, log },
    onChange: ({ digest }) => void changes.push(digest),
  });
  t.teardown(() => policy[Symbol.dispose]());
  const desk = openAccessDesk({ folder, identity, clock, log }, policy);
  return {
    ...{ folder, endpoint, clock, policy, desk, changes, writePolicy },
    async farfield(...argv) {
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      const context: CliContext = {
        ...{ env: {}, stdin: new PassThrough(), stdout, stderr, cwd: home, home, clock, random: systemRandom },
        ...{ signal: new AbortController().signal, self: [] },
      };
      const code = await runCli([...argv, '--state', folder.root], context);
      const text = (stream: PassThrough): string => ((stream.read() as Buffer | null) ?? '').toString();
      policy.reload();
      return { code, stdout: text(stdout), stderr: text(stderr) };
    },
    async send({ token, chain }) {
      const answer = await desk.answer(token, chain);
      return openToken('farfield-access-answer+jwt', answer, identity.current.signer.jwk).claims;
    },
  };
}
