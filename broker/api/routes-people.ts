/**
 * Health, enrolment of endpoints and users, and what is known of an endpoint.
 *
 * Invariants
 *  E1 An invitation is spent in the commit that makes its bearer known: two requests with one secret make one member.
 *  E2 A user joins with a request that its own long-term key signed. Who holds the secret and not the key gets nothing, so a token
 *     that leaks from a mail is worth no more than the chance to be refused.
 *  E3 An endpoint proves its root key by the descriptor, which the root signed; its online key proves itself at each connection.
 *  E4 The memory's directory is changed after the commit, never before: a crash between them is mended by the next start.
 */
import { type Static, Type as T } from 'typebox';
import { sha256Hex } from '#kernel/bytes.ts';
import { openDescriptor } from '#kernel/endpoint.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { thumbprint } from '#kernel/ids.ts';
import { assertStrongKey } from '#kernel/sign.ts';
import { EndpointView, EnrolBody, EnrolReply, ErrorBody, ROUTES, UserBody } from '#protos/http.ts';
import type { EndpointEntry } from '../directory.ts';
import type { ApiContext } from './context.ts';
import type { ApiServer } from './server.ts';

const EndpointParams = T.Object({ id: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }) }, { additionalProperties: false });
const Health = T.Object({ ok: T.Boolean() }, { additionalProperties: false });

export function registerPeopleRoutes(app: ApiServer, context: ApiContext): void {
  const { store, brokerId } = context;
  app.get(
    ROUTES.health.url,
    { config: { asks: 'anyone' }, schema: { summary: 'The process lives', response: { 200: Health } } },
    async () => ({ ok: true }),
  );
  app.get(
    ROUTES.ready.url,
    {
      config: { asks: 'anyone' },
      schema: { summary: 'The store answers', response: { 200: Health, '5xx': ErrorBody } },
    },
    async () => {
      // A read, for load balancers and in public: the write that the operator's /readyz makes would be anybody's to cause.
      await store.read('generation', null);
      return { ok: true };
    },
  );
  app.post<{ Body: Static<typeof EnrolBody> }>(
    ROUTES.enrol.url,
    {
      config: { asks: 'anyone' },
      schema: {
        summary: 'Enrol an endpoint with a one-use secret',
        body: EnrolBody,
        response: { 200: EnrolReply, '4xx': ErrorBody },
      },
    },
    async ({ body }) => {
      await enrol(context, body);
      return { brokerId };
    },
  );
  app.post<{ Body: Static<typeof UserBody> }>(
    ROUTES.users.url,
    {
      config: { asks: 'stranger' },
      schema: {
        summary: 'Become a user with a one-use secret; signed by the long-term key',
        body: UserBody,
        response: { 200: EnrolReply, '4xx': ErrorBody },
      },
    },
    async ({ body, asker }) => {
      const kid = thumbprint(body.jwk);
      const signer = asker?.kind === 'principal' ? asker.principal : asker?.kind === 'stranger' ? asker.kid : undefined;
      if (signer !== kid)
        throw new FarfieldError('E_ENROLMENT', 'the request is signed by another key than the one it brings');
      assertStrongKey(body.jwk);
      const added = await context.commit('addUser', {
        secretHash: sha256Hex(body.secret),
        kid,
        jwk: body.jwk,
        nowS: context.clock.now() / 1000,
      });
      if (added.kind === 'refused') throw new FarfieldError(added.code, added.message);
      context.directory.addUser(kid, body.jwk);
      context.log.info({ user: kid }, 'user added');
      return { brokerId };
    },
  );
  app.get<{ Params: Static<typeof EndpointParams> }>(
    ROUTES.endpoint.url,
    {
      schema: {
        summary: 'An endpoint: its descriptor, its hot facts, whether it is connected',
        params: EndpointParams,
        response: { 200: EndpointView, '4xx': ErrorBody },
      },
    },
    async ({ params }) => {
      const entry = context.directory.endpoint(params.id);
      if (entry === undefined)
        throw new FarfieldError('E_ENDPOINT_UNKNOWN', `no endpoint ${params.id} is enrolled at this broker`);
      return endpointView(entry);
    },
  );
}

/** The descriptor is what a client believes (it hashes to the id that it pinned); the rest is the broker's word. */
export function endpointView(entry: EndpointEntry): Static<typeof EndpointView> {
  const { id, descriptor, status, session, sinceMs } = entry;
  return {
    id,
    descriptor,
    online: session !== undefined,
    since: sinceMs / 1000,
    ...(status === '' ? {} : { status }),
    ...(session === undefined ? {} : { transport: session.facts.session.transport }),
  };
}

/** The descriptor is its own proof: no request token, since the endpoint is nobody here before this. */
async function enrol(context: ApiContext, { secret, descriptor }: Static<typeof EnrolBody>): Promise<void> {
  const nowS = context.clock.now() / 1000;
  const { iss: endpoint, seq, sign } = openDescriptor(descriptor, { nowS }).claims;
  const onlineKid = thumbprint(sign);
  const enrolled = await context.commit('enrol', {
    secretHash: sha256Hex(secret),
    endpoint,
    descriptor,
    seq,
    online: sign,
    onlineKid,
    nowS,
  });
  if (enrolled.kind === 'refused') throw new FarfieldError(enrolled.code, enrolled.message);
  context.directory.putEndpoint({ id: endpoint, descriptor, online: sign, onlineKid });
  context.log.info({ endpoint }, 'endpoint enrolled');
}
