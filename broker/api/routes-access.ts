/**
 * Requests for access, on their way to an endpoint's admin. The broker carries them: it can drop or delay one, and neither read
 * an answer into it nor make one that its asker's client would believe.
 *
 * Checked here, to spare the endpoint: who asks, that the token is the asker's own and for this endpoint, and how often.
 *
 * That somebody asked is kept (store/rules/access.ts), so that the endpoint's later decision finds its way back; what was asked and
 * why is not.
 */
import { type Static, Type as T } from 'typebox';
import type { Clock } from '#base/clock.ts';
import { decideAccess } from '#kernel/access.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { DEFAULT_CLOCK_TOLERANCE_S } from '#kernel/limits.ts';
import { AccessAnswer, AccessBody, AccessTold, ErrorBody, ROUTES } from '#protos/http.ts';
import { MAX_ACCESS_PER_ENDPOINT, MAX_ACCESS_PER_PRINCIPAL } from '../limits.ts';
import type { ApiContext } from './context.ts';
import { type ApiServer, principalOf } from './server.ts';

const Params = T.Object({ id: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }) }, { additionalProperties: false });

const MINUTE_MS = 60_000;

export function registerAccessRoutes(app: ApiServer, context: ApiContext): void {
  const byPrincipal = createRate(context.clock, MAX_ACCESS_PER_PRINCIPAL);
  const byEndpoint = createRate(context.clock, MAX_ACCESS_PER_ENDPOINT);
  app.post<{ Params: Static<typeof Params>; Body: Static<typeof AccessBody> }>(
    ROUTES.access.url,
    {
      schema: {
        summary: "Ask an endpoint's admin for access, or how a request stands; both signed by the asker",
        params: Params,
        body: AccessBody,
        response: { 200: AccessAnswer, '4xx': ErrorBody },
      },
    },
    async ({ asker, params, body }) => {
      const principal = principalOf(asker);
      if (!byPrincipal(principal)) throw busy('you asked for access often within a minute');
      const entry = context.directory.endpoint(params.id);
      if (entry === undefined)
        throw new FarfieldError('E_ENDPOINT_UNKNOWN', `no endpoint ${params.id} is enrolled at this broker`);
      const decision = decideAccess({
        token: body.access,
        chain: body.chain,
        chains: context.chains,
        endpoint: params.id,
        nowS: context.clock.now() / 1000,
        toleranceS: DEFAULT_CLOCK_TOLERANCE_S,
      });
      if (decision.kind === 'refuse') throw new FarfieldError(decision.refusal.code, decision.refusal.message);
      if (decision.chain.principal !== principal)
        throw new FarfieldError('E_FORBIDDEN', 'this request for access was signed by somebody else');
      const { session } = entry;
      if (session === undefined)
        throw new FarfieldError('E_UNAVAILABLE', `endpoint ${params.id} is offline; ask again when it is back`);
      if (!byEndpoint(params.id)) throw busy('many asked this endpoint for access within a minute');
      const answer = await session.access(body.access, body.chain);
      // After the endpoint has it and before the asker hears: a decision cannot come earlier than the admin's look at the list.
      await context.commit('accessAsked', { principal, endpoint: params.id, nowS: context.clock.now() / 1000 });
      return { answer };
    },
  );
  app.get(
    ROUTES.accessTold.url,
    {
      schema: {
        summary: 'What endpoints decided about your requests for access, the last word of each',
        response: { 200: AccessTold, '4xx': ErrorBody },
      },
    },
    async ({ asker }) => {
      const answers = await context.store.read('accessTold', { principal: principalOf(asker) });
      return { generation: context.generation, answers };
    },
  );
}

function busy(message: string): FarfieldError {
  return new FarfieldError('E_BUSY', `${message}; try again later`, { retryAfterS: MINUTE_MS / 1000 });
}

/** Counts within the minute that runs; forgotten with it, so that keys cost no memory. */
function createRate(clock: Clock, max: number): (key: string) => boolean {
  let counts = new Map<string, number>();
  let minute = 0;
  return (key) => {
    const now = Math.floor(clock.mono() / MINUTE_MS);
    if (now !== minute) counts = new Map();
    minute = now;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count <= max;
  };
}
