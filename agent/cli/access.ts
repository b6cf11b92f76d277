/**
 * `farfield endpoint requests | grant | deny | grants | revoke`: who asked, and what the admin said.
 *
 * Invariants
 *  V1 Identity and right are two things in two places. Who a key is for the rules by name stands in the policy (`trust` writes
 *     that pin, and so does a grant without --rule); what is given for a time beside it, in the grants file.
 *  V2 A grant is asked of the template before it is written, in the agent's own words: what the agent would not put in force
 *     is refused here.
 *  V3 The name that a request claims is shown as claimed. It becomes a name here only where nobody else has it.
 */
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, usage } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { THUMBPRINT } from '#kernel/ids.ts';
import {
  endOf,
  type Grant,
  type GrantsFile,
  MAX_DECISIONS,
  MAX_GRANTS,
  overReach,
  withGrants,
} from '#kernel/policy/grants.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';
import { entriesOf, isWaiting, readRequests, type StoredRequest } from '../admission/access.ts';
import { changeGrants, grantsPath, readGrants } from '../admission/grants.ts';
import { readPolicy } from '../admission/policy.ts';
import { openAudit, resolveAudit } from '../audit.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { readIdentity } from '../identity/identity.ts';
import { askRunning, chooseFolder, type FolderOptions, parseUntil } from './common.ts';
import { dateOf, nowS, show, spanOf, withFolder } from './show.ts';
import { trustKey } from './trust.ts';

export const registerAccess: RegisterVerb = (endpoint, context) => {
  registerRequests(endpoint, context);
  registerGrant(endpoint, context);
  registerDeny(endpoint, context);
  registerGrants(endpoint, context);
  registerRevoke(endpoint, context);
};

/** What these verbs work on. */
interface Desk {
  readonly folder: AgentFolder;
  readonly endpoint: string;
  readonly policy: ResolvedPolicy;
  readonly path: string;
  readonly requests: readonly StoredRequest[];
  readonly uid: number;
  readonly nowS: number;
}

function openDesk(context: CliContext, options: FolderOptions): Desk {
  const folder = chooseFolder(context, options);
  const now = nowS(context);
  const { endpoint } = readIdentity(folder, now);
  const uid = process.getuid?.() ?? 0;
  const policy = readPolicy(folder.policy, endpoint, uid);
  const path = grantsPath(folder.policy, policy);
  return { folder, endpoint, policy, path, requests: readRequests(folder.access), uid, nowS: now };
}

const change = (desk: Desk, how: (before: GrantsFile) => GrantsFile): Promise<GrantsFile> =>
  changeGrants(desk.path, desk.folder.grantsLock, desk.uid, how);

/** The running agent has it before the verb ends; without one the next start has it. */
async function tell(context: CliContext, desk: Desk, event: 'grant' | 'deny', fields: Record<string, string>) {
  const running = (await askRunning(desk.folder, 'reload')) !== undefined;
  using audit = openAudit({
    file: desk.folder.audit,
    config: resolveAudit(),
    clock: context.clock,
    log: { error: () => undefined },
  });
  audit.note(event, fields);
  return { running, said: running ? '; the running agent has it' : '' };
}

function registerRequests(endpoint: Command, context: CliContext): void {
  withFolder(endpoint.command('requests').description('who asked for access'))
    .option('--all', 'those that were answered too')
    .action((options: FolderOptions & { all?: boolean }, command: Command) => {
      const desk = openDesk(context, options);
      const grants = readGrants(desk.path, desk.uid);
      const found = desk.requests
        .filter((request) => options.all === true || isWaiting(request, grants))
        .map((request) => ({ ...request, state: stateOf(desk, grants, request) }));
      const lines = found.flatMap((request) => requestLines(desk, request));
      show(
        context,
        command,
        { requests: found },
        found.length === 0 ? ['nobody waits for an answer'] : [...lines, ...hint(desk, found[0]?.id ?? 'REQUEST')],
      );
    });
}

function stateOf(desk: Desk, grants: GrantsFile, { id, kid }: StoredRequest): string {
  const grant = grants.grants.find((each) => each.request === id)?.id;
  const { policy } = withGrants(desk.policy, grants, desk.nowS);
  const entries = entriesOf(kid, desk.requests, policy, grants, desk.nowS);
  return entries.find((entry) => entry.id === (grant ?? id))?.state ?? 'ended';
}

/** Nothing of these lines is to be believed but the key, which signed the rest. */
function requestLines(desk: Desk, request: StoredRequest & { state: string }): string[] {
  const pin = desk.policy.authorities.pinned.get(request.kid);
  const known = pin === undefined ? 'not known here' : `pinned as ${pin.name} until ${dateOf(pin.untilS)}`;
  const wants = request.functions === undefined ? 'says nothing of functions' : `wants ${request.functions.join(', ')}`;
  return [
    `${request.id}  ${request.state}  ${dateOf(request.at)}`,
    `  key     ${request.kid} (${known})`,
    `  claims to be "${plainLine(request.name)}"; ${wants}; for ${spanOf(request.forS)}`,
    ...(request.reason === undefined ? [] : [`  says    "${plainLine(request.reason, 500)}"`]),
  ];
}

function hint({ policy }: Desk, id: string): string[] {
  const rule = policy.grants === undefined ? undefined : [...policy.grants.rules][0];
  const how = rule === undefined ? '--as NAME' : `--rule "${rule}"`;
  return [
    'compare the key with its owner, by voice or in person; then:',
    `  farfield endpoint grant ${id} ${how} --until 30d`,
    `  farfield endpoint deny ${id} --reason TEXT`,
  ];
}

interface GrantOptions extends FolderOptions {
  readonly as?: string;
  readonly rule?: string;
  readonly functions?: string[];
  readonly accounts?: string[];
  readonly queues?: string[];
  readonly until?: string;
}

function registerGrant(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint.command('grant').description('give a key access for a time, by a rule that the policy lets you grant'),
  )
    .argument('<who>', 'a request (r-...), or the id of a key')
    .option('--as <name>', 'what the key is called here; the claimed name where nobody else has it')
    .option('--rule <name>', 'a rule under grants.rules of the policy; without it the key is only pinned (see `trust`)')
    .option('--functions <names...>', 'only these of the rule (patterns such as peaks/*)')
    .option('--accounts <names...>', "only these of the rule's accounts")
    .option('--queues <names...>', "only these of the rule's queues")
    .option('--until <time>', 'a date, a time with its zone, or a duration; what the request asks for unless given')
    .action(async (who: string, options: GrantOptions, command: Command) => {
      const desk = openDesk(context, options);
      const { kid, request } = whoIs(desk, who);
      const until = untilOf(context, desk, request, options.until);
      if (options.rule === undefined) await pin(context, command, desk, { kid, request, until }, options);
      else await give(context, command, desk, { kid, request, until }, { ...options, rule: options.rule });
    });
}

interface Asked {
  readonly kid: string;
  readonly request: StoredRequest | undefined;
  readonly until: number;
}

function whoIs(desk: Desk, who: string): { kid: string; request: StoredRequest | undefined } {
  const request = desk.requests.find(({ id }) => id === who);
  if (request !== undefined) {
    if (isWaiting(request, readGrants(desk.path, desk.uid))) return { kid: request.kid, request };
    throw new FarfieldError('E_CONFLICT', `${who} was answered before; name the key itself: ${request.kid}`);
  }
  if (THUMBPRINT.test(who)) return { kid: who, request: undefined };
  throw new FarfieldError(
    'E_NOT_FOUND',
    `no request ${who} waits here; \`farfield endpoint requests\` lists them, and a key's id has 43 characters`,
  );
}

function untilOf(
  context: CliContext,
  desk: Desk,
  request: StoredRequest | undefined,
  text: string | undefined,
): number {
  if (text === undefined && request === undefined) throw usage('say until when: --until 30d');
  const until = text === undefined ? desk.nowS + (request?.forS ?? 0) : parseUntil(text, context.clock.now());
  if (until <= desk.nowS) throw usage(`--until ${text} is over already`);
  return until;
}

/** A name as rules and logins have it. */
function nameFor(desk: Desk, asked: Asked, given: string | undefined): string {
  const own = desk.policy.authorities.pinned.get(asked.kid)?.name;
  const name = given ?? own ?? asked.request?.name;
  if (name === undefined) throw usage('say what this key is called here: --as NAME');
  if (!/^[A-Za-z0-9][A-Za-z0-9._/@+-]{0,127}$/.test(name))
    throw usage(`"${plainLine(name)}" cannot be a name here; give one with --as NAME`);
  return name;
}

/** Without a rule: who this key is, for rules that name it (V1). The same as `trust`. */
async function pin(context: CliContext, command: Command, desk: Desk, asked: Asked, options: GrantOptions) {
  for (const narrow of ['functions', 'accounts', 'queues'] as const)
    if (options[narrow] !== undefined) throw usage(`--${narrow} narrows a rule; name one with --rule`);
  // V3: a claimed name that a rule knows would be that rule's right, by nobody's decision.
  if (options.as === undefined && desk.policy.authorities.pinned.get(asked.kid) === undefined)
    throw usage('say with --rule what to grant, or with --as NAME under which name of the rules to pin this key');
  const name = nameFor(desk, asked, options.as);
  const { kid, request, until } = asked;
  const { renewed } = await trustKey(desk.folder.policy, desk.endpoint, { kid, name, untilS: until });
  if (request !== undefined) await decide(desk, { request: request.id, kid, outcome: 'pinned', until });
  const { running, said } = await tell(context, desk, 'grant', { kid, name, until: dateOf(until) });
  const facts = { kid, name, until, renewed, running };
  show(context, command, facts, [`pinned ${kid} as ${name} until ${dateOf(until)}${said}`]);
}

const grantId = (context: CliContext): string => `g-${Buffer.from(context.random.bytes(6)).toString('hex')}`;

async function give(
  context: CliContext,
  command: Command,
  desk: Desk,
  asked: Asked,
  options: GrantOptions & { readonly rule: string },
): Promise<void> {
  const { kid, request, until } = asked;
  const grant: Grant = {
    id: grantId(context),
    kid,
    name: nameFor(desk, asked, options.as),
    rule: options.rule,
    ...(options.functions === undefined ? {} : { functions: options.functions }),
    ...(options.accounts === undefined ? {} : { accounts: options.accounts }),
    ...(options.queues === undefined ? {} : { queues: options.queues }),
    from: desk.nowS,
    until,
    ...(request === undefined ? {} : { request: request.id }),
  };
  const longest = endOf(desk.policy, grant);
  if (longest < until)
    throw new FarfieldError('E_FORBIDDEN', `the policy's grants.maxS allows until ${dateOf(longest)} at most`);
  await change(desk, (before) => {
    // V2, under the lock: two verbs at once must not give one name to two keys.
    const { policy } = withGrants(desk.policy, before, desk.nowS);
    const why = overReach(desk.policy, grant, policy.authorities.pinned, desk.nowS);
    if (why !== undefined) throw new FarfieldError('E_FORBIDDEN', `not granted: ${why}`);
    const live = before.grants.filter((each) => each.until + KEEP_ENDED_S > desk.nowS);
    if (live.length >= MAX_GRANTS) throw new FarfieldError('E_TOO_LARGE', `${MAX_GRANTS} grants are in the file`);
    return { ...before, grants: [...live, grant] };
  });
  const { running, said } = await tell(context, desk, 'grant', {
    grant: grant.id,
    kid,
    name: grant.name,
    rule: grant.rule,
    until: dateOf(until),
  });
  show(context, command, { ...grant, running }, [
    `${grant.id}: ${grant.name} (${kid}) has rule "${grant.rule}" until ${dateOf(until)}${said}`,
    `they log in as ${grant.name}: farfield login --name ${grant.name}`,
  ]);
}

/** Ended grants stay this long, so that their owners can be told. */
const KEEP_ENDED_S = 30 * 86_400;

async function decide(desk: Desk, decision: Omit<GrantsFile['decided'][number], 'at'>): Promise<void> {
  await change(desk, (before) => ({
    ...before,
    decided: [...before.decided, { ...decision, at: desk.nowS }].slice(-MAX_DECISIONS),
  }));
}

function registerDeny(endpoint: Command, context: CliContext): void {
  withFolder(endpoint.command('deny').description('say no to a request; its asker is told'))
    .argument('<request>', 'r-...')
    .option('--reason <text>', 'told to the asker')
    .action(async (id: string, options: FolderOptions & { reason?: string }, command: Command) => {
      const desk = openDesk(context, options);
      const { kid, request } = whoIs(desk, id);
      if (request === undefined) throw usage('name the request (r-...): a key is not denied, `revoke` takes back');
      const reason = options.reason === undefined ? undefined : plainLine(options.reason, 500);
      await decide(desk, { request: id, kid, outcome: 'denied', ...(reason === undefined ? {} : { reason }) });
      const { running, said } = await tell(context, desk, 'deny', { request: id, kid });
      show(context, command, { request: id, kid, reason, running }, [`denied ${id} of ${kid}${said}`]);
    });
}

function registerGrants(endpoint: Command, context: CliContext): void {
  withFolder(endpoint.command('grants').description('what was granted, and whether it is in force')).action(
    (options: FolderOptions, command: Command) => {
      const desk = openDesk(context, options);
      const file = readGrants(desk.path, desk.uid);
      const { policy, problems } = withGrants(desk.policy, file, desk.nowS);
      const inForce = new Set(policy.rules.map((rule) => rule.grant?.id));
      const grants = file.grants.map((grant) => {
        const end = endOf(desk.policy, grant);
        const state = inForce.has(grant.id) ? 'in force' : end <= desk.nowS ? 'over' : 'not in force';
        return { ...grant, until: end, state };
      });
      const lines = grants.map(
        ({ id, state, name, kid, rule, until, functions }) =>
          `${id}  ${state}  until ${dateOf(until)}  ${name} (${kid})  rule "${plainLine(rule)}"${functions === undefined ? '' : `, only ${functions.join(', ')}`}`,
      );
      show(context, command, { grants, revoked: file.revoked, problems }, [
        ...(lines.length === 0 ? ['nothing is granted'] : lines),
        ...problems.map((problem) => plainLine(problem, 500)),
      ]);
    },
  );
}

function registerRevoke(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('revoke')
      .description('take back what was granted, at once; what runs ends or finishes as onRevoke of the policy says'),
  )
    .argument('<what>', 'a grant (g-...), or a key: all of its grants, and its pin')
    .option('--reason <text>', 'told to whom it concerns')
    .action(async (what: string, options: FolderOptions & { reason?: string }, command: Command) => {
      const desk = openDesk(context, options);
      const reason = options.reason === undefined ? {} : { reason: plainLine(options.reason, 500) };
      const gone: Grant[] = [];
      const pinned = desk.policy.authorities.pinned.get(what);
      await change(desk, (before) => {
        gone.push(...before.grants.filter(({ id, kid }) => id === what || kid === what));
        if (gone.length === 0 && pinned === undefined)
          throw new FarfieldError(
            'E_NOT_FOUND',
            `nothing is granted under ${plainLine(what)}; \`farfield endpoint grants\` lists it`,
          );
        const revoked = gone.map(({ id, kid, rule, request }) => ({
          ...{ id, kid, rule, at: desk.nowS, ...reason },
          ...(request === undefined ? {} : { request }),
        }));
        // Said here, so that what runs by the pin ends too; the policy then says that it is over.
        const pin = pinned === undefined ? [] : [{ id: grantId(context), kid: what, at: desk.nowS, ...reason }];
        return {
          ...before,
          grants: before.grants.filter((grant) => !gone.includes(grant)),
          revoked: [...before.revoked, ...revoked, ...pin].slice(-MAX_DECISIONS),
        };
      });
      if (pinned !== undefined)
        await trustKey(desk.folder.policy, desk.endpoint, { kid: what, name: pinned.name, untilS: 0 });
      const { running, said } = await tell(context, desk, 'deny', { revoked: what });
      const ids = gone.map(({ id }) => id);
      show(context, command, { revoked: ids, pin: pinned?.name, running, onRevoke: desk.policy.onRevoke }, [
        `revoked ${[...ids, ...(pinned === undefined ? [] : [`the pin of ${pinned.name}`])].join(', ')}${said}`,
        `what runs: ${desk.policy.onRevoke} (onRevoke)`,
      ]);
    });
}
