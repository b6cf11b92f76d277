/**
 * Invocations: submit, list, status, packs, cancel, events.
 *
 * Invariants
 *  C1 All but submit see the asker's own only; another's is answered as what is not there, with the same words.
 *  C2 A submission needs no request token: each ticket in it is signed by who answers for it. Anybody may carry it here.
 *  C3 Packs are given out as they came from the endpoint. Nothing of them is summed up here that a client could mistake for a receipt.
 *  C4 A cancel is committed before it is passed on, and answered after: what is lost on the link goes out at the next session.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type as T } from 'typebox';
import { bindingRefusal, chainTimeRefusal } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { ticketId } from '#kernel/ids.ts';
import { openToken } from '#kernel/jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S } from '#kernel/limits.ts';
import { PackJson, packToJson } from '#kernel/receipts.ts';
import {
  ACCESS_HEADER,
  CancelBody,
  CancelReply,
  ErrorBody,
  ROUTES,
  SUBMISSION_TYPE,
  SubmissionReply,
  TicketStatus,
} from '#protos/http.ts';
import { runStream } from '../events/stream.ts';
import { LIST_TICKETS, MAX_STREAMS_PER_PRINCIPAL, PACKS_BYTES } from '../limits.ts';
import { unpackPack } from '../packs.ts';
import { packU16, unpackU16 } from '../store/columns.ts';
import type { TicketView } from '../store/store.ts';
import type { ApiContext } from './context.ts';
import { type ApiServer, principalOf } from './server.ts';
import { parseItems, ticketStatus } from './status.ts';

const closed = { additionalProperties: false } as const;
const Params = T.Object({ id: T.String({ pattern: '^[0-9a-f]{32}$' }) }, closed);
const StatusQuery = T.Object({ items: T.Optional(T.String({ pattern: '^[0-9]{1,4}(,[0-9]{1,4}){0,1023}$' })) }, closed);
const ListQuery = T.Object(
  {
    before: T.Optional(T.String({ pattern: '^[0-9a-f]{32}$' })),
    tickets: T.Optional(T.Literal('yes', { description: 'with the signed tickets' })),
  },
  closed,
);
const PacksQuery = T.Object({ after: T.Optional(T.String({ pattern: '^[0-9]{1,15}$' })) }, closed);
const EventHeaders = T.Object({
  'last-event-id': T.Optional(
    T.String({ description: 'id of the last event that arrived; the stream goes on after it' }),
  ),
});
const ListReply = T.Object({ tickets: T.Array(TicketStatus) }, closed);
const PacksReply = T.Object(
  { packs: T.Array(PackJson), more: T.Optional(T.Integer({ description: 'ask again with ?after=' })) },
  closed,
);

const EVENT_STREAM = {
  type: 'text/event-stream',
  description:
    'Server-sent events. queued, admitted, lost: ItemsEvent; terminal: PackJson; running: RunningEvent; log: LogEvent; refusal: RefusalEvent; access: AccessEvent (components.schemas); reset: too old a Last-Event-ID, list again. Durable events have an id to resume from',
};

type OfTicket = { Params: Static<typeof Params> };

export function registerCallRoutes(app: ApiServer, context: ApiContext): void {
  app.post<{ Body: Buffer }>(
    ROUTES.submit.url,
    {
      config: {
        asks: 'anyone',
        takes: {
          type: SUBMISSION_TYPE,
          description:
            'u32le length of the header, the header as JSON (components.schemas.SubmissionHeader), then the bytes of items and inline arguments in the order that it lists their sizes',
        },
      },
      schema: {
        summary: 'Submit signed tickets with their bytes',
        response: { 200: SubmissionReply, '4xx': ErrorBody },
      },
    },
    ({ body }) => {
      if (!Buffer.isBuffer(body))
        throw new FarfieldError('E_BAD_REQUEST', `a submission is of type ${SUBMISSION_TYPE}`);
      return context.submit(body);
    },
  );
  app.get<{ Querystring: Static<typeof ListQuery> }>(
    ROUTES.list.url,
    {
      schema: {
        summary: 'Your calls, newest first',
        querystring: ListQuery,
        response: { 200: ListReply, '4xx': ErrorBody },
      },
    },
    async ({ asker, query }) => ({ tickets: await list(context, principalOf(asker), query) }),
  );
  app.get<OfTicket & { Querystring: Static<typeof StatusQuery> }>(
    ROUTES.status.url,
    {
      schema: {
        summary: "One call: the broker's word about its items",
        params: Params,
        querystring: StatusQuery,
        response: { 200: TicketStatus, '4xx': ErrorBody },
      },
    },
    async ({ asker, params, query }) => {
      const view = await ownTicket(context, principalOf(asker), params.id);
      return ticketStatus(context, view, query.items === undefined ? undefined : parseItems(query.items, view.n));
    },
  );
  app.get<OfTicket & { Querystring: Static<typeof PacksQuery> }>(
    ROUTES.result.url,
    {
      schema: {
        summary: 'Signed outcomes of one call, oldest first',
        params: Params,
        querystring: PacksQuery,
        response: { 200: PacksReply, '4xx': ErrorBody },
      },
    },
    async ({ asker, params, query }) => {
      await ownTicket(context, principalOf(asker), params.id);
      const { packs, more } = await context.store.read('packs', {
        id: params.id,
        after: Number(query.after ?? 0),
        maxBytes: PACKS_BYTES,
      });
      const last = packs.at(-1);
      return {
        packs: packs.map(({ bytes }) => packToJson(unpackPack(bytes))),
        ...(more && last !== undefined ? { more: last.packNo } : {}),
      };
    },
  );
  app.post<OfTicket & { Body: Static<typeof CancelBody> }>(
    ROUTES.cancel.url,
    {
      schema: {
        summary: 'Cancel items by a signed cancel, which travels to the endpoint',
        params: Params,
        body: CancelBody,
        response: { 200: CancelReply, '4xx': ErrorBody },
      },
    },
    async ({ asker, params, body }) => cancel(context, principalOf(asker), params.id, body),
  );
  app.get(
    ROUTES.events.url,
    { config: { gives: { 200: EVENT_STREAM } }, schema: { summary: 'Your events', headers: EventHeaders } },
    (request, reply) => events(context, request, reply),
  );
}

/** The same answer for what is not there and what is another's. */
export async function ownTicket({ store }: ApiContext, principal: string, id: string): Promise<TicketView> {
  const view = await store.read('ticket', { id });
  if (view === undefined || view.principal !== principal)
    throw new FarfieldError('E_NOT_FOUND', `no call ${id} of yours is stored here`);
  return view;
}

async function list(context: ApiContext, principal: string, query: Static<typeof ListQuery>): Promise<TicketStatus[]> {
  const before =
    query.before === undefined ? Number.MAX_SAFE_INTEGER : (await ownTicket(context, principal, query.before)).ticketNo;
  const views = await context.store.read('list', { principal, before, limit: LIST_TICKETS });
  const found = views.map((view) => ticketStatus(context, view, []));
  if (query.tickets === undefined) return found;
  const tokens = await context.store.read('tokens', { tickets: views.map(({ ticketNo }) => ticketNo) });
  return found.map((each, k) => ({ ...each, ...(tokens[k] ? { ticket: tokens[k] } : {}) }));
}

async function cancel(
  context: ApiContext,
  principal: string,
  id: string,
  body: Static<typeof CancelBody>,
): Promise<Static<typeof CancelReply>> {
  const nowS = context.clock.now() / 1000;
  const chain = context.chains.open(body.chain);
  const token = openToken('farfield-cancel+jwt', body.cancel, chain.sessionKey);
  const { target, exp } = token.claims;
  const refusal = bindingRefusal(chain, token) ?? chainTimeRefusal(chain, token, nowS, DEFAULT_CLOCK_TOLERANCE_S);
  if (refusal !== undefined) throw new FarfieldError(refusal.code, refusal.message);
  if (exp < nowS) throw new FarfieldError('E_EXPIRED', 'this cancel is over; sign a new one');
  if (chain.principal !== principal || ticketId(target.principal, target.jti) !== id) {
    throw new FarfieldError('E_BAD_REQUEST', 'the cancel is signed for another call than the URL names');
  }
  const view = await ownTicket(context, principal, id);
  if (token.claims.aud !== view.endpoint)
    throw new FarfieldError(
      'E_AUDIENCE',
      `this call is at endpoint ${view.endpoint}; the cancel is for ${token.claims.aud}`,
    );
  const items = target.items === 'all' ? 'all' : packU16(target.items);
  const done = await context.commit('cancel', { principal, id, items, token: body.cancel, links: body.chain, nowS });
  if (done.kind === 'refused') throw new FarfieldError(done.code, done.message);
  const session = context.directory.endpoint(done.endpoint)?.session;
  session?.pump.drop(done.ticketNo, unpackU16(done.ended));
  session?.cancel({ cancelNo: done.cancelNo, token: body.cancel, links: body.chain });
  return { id, items: done.items };
}

const EVENT_HEAD = { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' };

/** Set by the hook that knows who asks; a hijacked reply loses what Fastify would have sent. */
function accessHeader(reply: FastifyReply): Record<string, string> {
  const told = reply.getHeader(ACCESS_HEADER);
  return typeof told === 'string' ? { [ACCESS_HEADER]: told } : {};
}

/** Hijacked with its first byte: Fastify has nothing to add to a stream. */
async function events(context: ApiContext, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const principal = principalOf(request.asker);
  const { hub, store, clock, generation, log } = context;
  if (hub.listeners(principal) >= MAX_STREAMS_PER_PRINCIPAL) {
    throw new FarfieldError('E_BUSY', `${MAX_STREAMS_PER_PRINCIPAL} event streams of yours are open; close one`);
  }
  const cursor = request.headers['last-event-id'];
  try {
    await runStream({
      hub,
      store,
      clock,
      generation,
      principal,
      cursor: typeof cursor === 'string' ? cursor : undefined,
      out: reply.raw,
      head: () => reply.hijack().raw.writeHead(200, { ...EVENT_HEAD, ...accessHeader(reply) }),
    });
  } catch (error) {
    if (!reply.raw.headersSent) throw error;
    log.warn({ principal, err: error }, 'event stream ended');
  }
  reply.raw.end();
}
