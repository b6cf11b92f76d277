/**
 * `farfield login`: redeem an invitation, make a session key, delegate to it, pin endpoints.
 *
 * A session lives at most 12 hours and can sign only what its delegation allows. `--queue-for` makes the delegation
 * admissible for longer, for one endpoint, so that work for an offline endpoint can wait there.
 */
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, readToken, usage, writeJson, writeLine } from '#base/cli.ts';
import { openPrivateFolder, writeDurable } from '#base/files.ts';
import { createKeyFile, loadSigner } from '#base/keys.ts';
import { egressFromEnv, openEgress } from '#base/proxy.ts';
import { fromBase64Url, fromUtf8, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { THUMBPRINT } from '#kernel/ids.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import { MAX_SESSION_S } from '#kernel/limits.ts';
import { assertShape } from '#kernel/schema.ts';
import { Invitation, ROUTES } from '#protos/http.ts';
import { type Home, openHome } from '../ts/home.ts';
import { createBrokerHttp } from '../ts/http.ts';
import { parseDuration } from './common.ts';

interface LoginOptions {
  readonly as?: string;
  readonly for: string;
  readonly queueFor?: string;
  readonly endpoint?: string;
  readonly pin?: readonly string[];
}

export const register: RegisterVerb = (program, context) => {
  program
    .command('login')
    .description('make a session key, delegated by your long-term key')
    .argument('[token]', 'an invitation of the broker (ff1...., or - for stdin), needed once')
    .option('--as <name>', 'the name under which sites pin your key (default: that of the last login, else $USER)')
    .option('--for <duration>', 'life of the session, at most 12h', '12h')
    .option('--queue-for <duration>', 'let work wait this long for one endpoint that is offline (needs --endpoint)')
    .option('--endpoint <name>', 'limit the session to one endpoint')
    .option('--pin <name=id...>', 'remember an endpoint id that the site gave you')
    .action(async (token: string | undefined, options: LoginOptions, command: Command) => {
      const home = openHome(context.home);
      openPrivateFolder(home.folder);
      openPrivateFolder(`${home.folder}/keys`);
      const principal = principalKey(home);
      if (token !== undefined) await redeem(context, home, principal, await readToken(context, token));
      await savePins(home, options.pin ?? []);
      const name = options.as ?? (await home.lastName()) ?? context.env.USER ?? 'me';
      const until = await makeSession(context, home, principal, { ...options, as: name });
      if (command.optsWithGlobals().json === true)
        writeJson(context.stdout, { principal: principal.kid, as: name, until });
      else
        writeLine(
          context.stdout,
          `logged in as ${name} (key ${principal.kid}) until ${new Date(until * 1000).toISOString()}`,
        );
    });
};

function principalKey(home: Home): Signer {
  const path = home.file('principal');
  return existsSync(path) ? loadSigner(path) : createKeyFile(path);
}

/** Presents the one-use secret and keeps where the broker is and how to know it. */
async function redeem(context: CliContext, home: Home, principal: Signer, token: string): Promise<void> {
  const bytes = token.startsWith('ff1.') ? fromBase64Url(token.slice(4)) : undefined;
  if (bytes === undefined) throw usage('an invitation begins with ff1. and is one long word; copy it whole');
  const invitation = assertShape(Invitation, parseInvitation(bytes), 'E_ENROLMENT', 'the invitation');
  if (invitation.for.kind !== 'user' || invitation.for.id !== principal.kid) {
    throw new FarfieldError(
      'E_ENROLMENT',
      `this invitation is for ${invitation.for.kind} ${invitation.for.id}; your key is ${principal.kid}. Ask for one with \`farfield broker invite --user ${principal.kid}\``,
    );
  }
  const { url, grpc, ca, brokerId } = invitation;
  await using http = createBrokerHttp({
    broker: { url, ca, brokerId },
    egress: openEgress(egressFromEnv(context.env)),
    signer: principal,
    chain: [],
    clock: context.clock,
    random: context.random,
  });
  const body = utf8(JSON.stringify({ secret: invitation.secret, jwk: principal.jwk }));
  const reply = await http.json<{ brokerId: string }>({
    method: 'POST',
    path: ROUTES.users.url,
    body,
    contentType: 'application/json',
  });
  if (reply.brokerId !== brokerId)
    throw new FarfieldError(
      'E_ENROLMENT',
      `the broker at ${url} calls itself ${reply.brokerId}, the invitation says ${brokerId}: do not use it`,
    );
  await writeDurable(
    home.file('profile'),
    utf8(`${JSON.stringify({ url, grpc, ca, brokerId }, undefined, 2)}\n`),
    0o600,
  );
}

function parseInvitation(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes)) as unknown;
  } catch {
    throw usage('this invitation is cut short or changed; copy it whole');
  }
}

async function savePins(home: Home, given: readonly string[]): Promise<void> {
  if (given.length === 0) return;
  const fresh = given.map((text) => {
    const [name = '', endpoint = ''] = text.split('=');
    if (name === '' || !THUMBPRINT.test(endpoint))
      throw usage(`--pin takes NAME=ID with an id of 43 characters, not "${text}"`);
    return { name, endpoint, seq: 1 };
  });
  const kept = (await home.pins()).filter((pin) => !fresh.some((each) => each.name === pin.name));
  await home.savePins([...kept, ...fresh]);
}

async function makeSession(
  context: CliContext,
  home: Home,
  principal: Signer,
  options: LoginOptions & { readonly as: string },
): Promise<number> {
  const lifeS = parseDuration(options.for);
  if (lifeS > MAX_SESSION_S) throw usage(`--for is at most 12h: a session key lies in a file that your notebooks read`);
  const endpoint = options.endpoint === undefined ? undefined : await pinned(home, options.endpoint);
  if (options.queueFor !== undefined && endpoint === undefined)
    throw usage('--queue-for needs --endpoint: work may wait for one endpoint only');
  const iat = Math.floor(context.clock.now() / 1000);
  const exp = iat + lifeS;
  const adm = options.queueFor === undefined ? exp : Math.max(exp, iat + parseDuration(options.queueFor));
  // A session key is worth nothing without its delegation: the old one is dropped with the session that it replaces.
  await rm(home.file('sessionKey'), { force: true });
  const session = createKeyFile(home.file('sessionKey'));
  const delegation = signToken(
    'farfield-delegation+jwt',
    {
      v: 1,
      iss: principal.kid,
      jwk: principal.jwk,
      sub: { iss: 'pin', id: options.as },
      cnf: session.jwk,
      use: 'session',
      iat,
      exp,
      adm,
      scope: endpoint === undefined ? {} : { endpoints: [endpoint] },
    },
    principal,
  );
  await writeDurable(home.file('session'), utf8(`${JSON.stringify({ chain: [delegation] })}\n`), 0o600);
  return exp;
}

async function pinned(home: Home, name: string): Promise<string> {
  const pin = (await home.pins()).find((each) => each.name === name || each.endpoint === name);
  if (pin === undefined)
    throw new FarfieldError('E_ENDPOINT_UNKNOWN', `no endpoint is pinned as "${name}"; add --pin ${name}=ID`);
  return pin.endpoint;
}
