/**
 * `farfield access`: asking a site for access, and how that stands.
 *
 * The request is signed by the session key and the answer by the endpoint's online key, bound to this very request: a broker
 * between them can keep either back, and invent neither.
 */
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { openToken, signToken, tokenHash } from '#kernel/jws.ts';
import { ACCESS_LIFE_S } from '#kernel/limits.ts';
import type { AccessClaims, AccessEntry } from '#kernel/tokens/claims.ts';
import { ROUTES } from '#protos/http.ts';
import { openClient, parseDuration, resolveEndpoint } from './common.ts';
import { describeEntry } from './notices.ts';

const DEFAULT_FOR = '30d';

export const register: RegisterVerb = (program, context) => {
  const access = program.command('access').description('ask a site for access, and see how that stands');
  access
    .command('request')
    .description("ask an endpoint's admin for access; `access status` shows the answer")
    .argument('<endpoint>', 'a pinned name, or an id')
    .option('--function <name...>', 'what you want to run, as far as you know')
    .option('--reason <text>', 'who you are and what for, in a sentence; the admin reads it')
    .option('--for <time>', 'how long, such as 12h or 30d', DEFAULT_FOR)
    .action(
      async (endpoint: string, options: { function?: string[]; reason?: string; for: string }, command: Command) => {
        const ask = {
          op: 'request' as const,
          ...(options.function === undefined ? {} : { functions: namesOf(options.function) }),
          ...(options.reason === undefined ? {} : { reason: reasonOf(options.reason) }),
          forS: parseDuration(options.for),
        };
        const { id, entries, principal } = await send(context, endpoint, ask);
        if (command.optsWithGlobals().json === true)
          return writeJson(context.stdout, { endpoint: id, principal, entries });
        writeLine(context.stdout, `asked; your key is ${principal}: read it to the admin, who compares it`);
        for (const line of entries.map(describeEntry)) writeLine(context.stdout, line);
      },
    );
  access
    .command('status')
    .description('how your requests stand at an endpoint, signed by it')
    .argument('<endpoint>', 'a pinned name, or an id')
    .action(async (endpoint: string, _options: unknown, command: Command) => {
      const { id, entries, principal } = await send(context, endpoint, { op: 'status' });
      if (command.optsWithGlobals().json === true)
        return writeJson(context.stdout, { endpoint: id, principal, entries });
      const lines =
        entries.length === 0 ? [`nothing is asked for; farfield access request ${id}`] : entries.map(describeEntry);
      for (const line of lines) writeLine(context.stdout, line);
    });
};

function namesOf(names: readonly string[]): string[] {
  for (const name of names)
    if (!/^[A-Za-z0-9][A-Za-z0-9._/@+-]{0,127}$/.test(name)) throw usage(`"${name}" is no name of a function`);
  if (names.length > 16) throw usage('name at most 16 functions; the reason can say more');
  return [...names];
}

function reasonOf(text: string): string {
  const line = plainLine(text, 500);
  if (line === '') throw usage('--reason says nothing');
  return line;
}

interface Answer {
  readonly id: string;
  readonly principal: string;
  readonly entries: readonly AccessEntry[];
}

async function send(context: CliContext, endpoint: string, ask: AccessClaims['ask']): Promise<Answer> {
  const { home, client, notices } = await openClient(context);
  await using _client = client;
  const id = await resolveEndpoint(context, home, endpoint);
  const session = await home.session(context.clock.now() / 1000);
  const iat = Math.floor(context.clock.now() / 1000);
  const jti = uuidv7(context.clock.now(), context.random.bytes(10));
  const head = { v: 1, iss: session.signer.kid, sub: client.subject, dlg: client.delegation } as const;
  const token = signToken(
    'farfield-access+jwt',
    { ...head, aud: id, jti, iat, exp: iat + ACCESS_LIFE_S, ask },
    session.signer,
  );
  const { answer } = await client.http.json<{ answer: string }>({
    method: 'POST',
    path: ROUTES.access.url.replace(':id', id),
    body: Buffer.from(JSON.stringify({ access: token, chain: session.chain })),
    contentType: 'application/json',
  });
  const { descriptorToken } = await client.endpoint(id);
  const entries = openAnswer(answer, { id, online: descriptorToken.claims.sign, principal: client.principal, token });
  notices.told(id);
  return { id, principal: client.principal, entries };
}

export interface Expected {
  readonly id: string;
  readonly online: Parameters<typeof openToken>[2];
  readonly principal: string;
  /** What was sent. */
  readonly token: string;
}

/** Throws unless the endpoint signed this answer, to this token; then what it refused, as its error. */
export function openAnswer(answer: string, { id, online, principal, token }: Expected): readonly AccessEntry[] {
  const { claims } = openToken('farfield-access-answer+jwt', answer, online);
  const fits = claims.endpoint === id && claims.req === tokenHash(token);
  if (!fits || (claims.aud !== principal && claims.refused === undefined))
    throw new FarfieldError('E_RECEIPT', 'the broker gave an answer to another request; nothing is known of yours');
  const { refused } = claims;
  if (refused !== undefined)
    throw new FarfieldError(
      isErrorCode(refused.code) ? refused.code : 'E_BAD_REQUEST',
      plainLine(refused.message, 500),
    );
  return claims.entries;
}
