/**
 * Blobs over HTTP: `HEAD` says how much is there, `PUT ?offset=&size=` goes on from there, `GET` reads, in ranges too.
 *
 * Invariants
 *  O1 A principal sees what was uploaded by it in full, or granted; anything else is E_NOT_FOUND, existing or not.
 *  O2 An endpoint reads blobs of its own open tickets only. It uploads for the principal of an open ticket that it holds,
 *     and names the ticket: `?ticket=ID`.
 */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type as T } from 'typebox';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_BLOB_BYTES } from '#kernel/limits.ts';
import { BlobState, ErrorBody, ROUTES } from '#protos/http.ts';
import { isOpen } from '../store/states.ts';
import type { ApiContext } from './context.ts';
import type { ApiServer } from './server.ts';

const closed = { additionalProperties: false } as const;
const Params = T.Object({ digest: T.String({ pattern: '^sha256:[0-9a-f]{64}$' }) }, closed);
const Ticket = T.Optional(
  T.String({ pattern: '^[0-9a-f]{32}$', description: 'for whom an endpoint uploads: the principal of this ticket' }),
);
const RangeHeaders = T.Object({
  range: T.Optional(
    T.String({ description: 'bytes=FIRST-LAST or bytes=FIRST-; of several ranges, the whole is sent' }),
  ),
});
const BYTES = { type: 'application/octet-stream', description: 'bytes of the blob' };
const Size = T.String({ pattern: '^(0|[1-9][0-9]{0,14})$' });
const Query = T.Object({ ticket: Ticket }, closed);
const PutQuery = T.Object({ offset: T.Optional(Size), size: Size, ticket: Ticket }, closed);

type OfBlob = { Params: Static<typeof Params>; Querystring: Static<typeof Query> };
type PutBlob = { Params: Static<typeof Params>; Querystring: Static<typeof PutQuery>; Body: Readable };

export function registerBlobRoutes(app: ApiServer, context: ApiContext): void {
  const { url } = ROUTES.blobGet;
  app.head<OfBlob>(
    url,
    {
      config: {
        gives: {
          200: {
            description:
              'Bytes there, of how many, and whether that is all: Farfield-Have, Farfield-Size, Farfield-Complete',
          },
        },
      },
      schema: {
        summary: 'How much of a blob is there',
        params: Params,
        querystring: Query,
      },
    },
    (request, reply) => head(context, request, reply),
  );
  app.get<OfBlob>(
    url,
    {
      config: { gives: { 200: BYTES, 206: BYTES } },
      schema: {
        summary: 'The bytes of a blob; Range is understood',
        params: Params,
        querystring: Query,
        headers: RangeHeaders,
        response: { '4xx': ErrorBody },
      },
    },
    (request, reply) => get(context, request, reply),
  );
  app.put<PutBlob>(
    url,
    {
      bodyLimit: MAX_BLOB_BYTES,
      config: { takes: BYTES },
      schema: {
        summary: 'Append to a blob; complete when its digest matches',
        params: Params,
        querystring: PutQuery,
        response: { 200: BlobState, '4xx': ErrorBody },
      },
    },
    (request) => put(context, request),
  );
}

/** O1, O2 for writing: whose blob it will be. */
async function ownerOf(
  { store }: ApiContext,
  { asker, query }: Pick<FastifyRequest<OfBlob>, 'asker' | 'query'>,
): Promise<string> {
  if (asker?.kind === 'principal') return asker.principal;
  if (asker?.kind === 'endpoint' && query.ticket !== undefined) {
    const view = await store.read('ticket', { id: query.ticket });
    if (view?.endpoint === asker.endpoint && view.states.some(isOpen)) return view.principal;
    throw new FarfieldError('E_FORBIDDEN', `this endpoint holds no open call ${query.ticket}`);
  }
  throw new FarfieldError('E_FORBIDDEN', 'an endpoint uploads for a call that it holds: add ?ticket=ID');
}

/** O1, O2 for reading: the size of a blob that the asker may see. */
async function visible(
  { store }: ApiContext,
  { asker, params, query }: Pick<FastifyRequest<OfBlob>, 'asker' | 'params' | 'query'>,
): Promise<number | undefined> {
  const { digest } = params;
  if (asker?.kind === 'principal') return store.read('blobOf', { principal: asker.principal, digest });
  if (asker?.kind !== 'endpoint') return undefined;
  const named = await store.read('blobAt', { endpoint: asker.endpoint, digest });
  if (named !== undefined || query.ticket === undefined) return named;
  // What it has uploaded itself for a call: it asks whether the upload is complete.
  const view = await store.read('ticket', { id: query.ticket });
  if (view?.endpoint !== asker.endpoint || !view.states.some(isOpen)) return undefined;
  return store.read('blobOf', { principal: view.principal, digest });
}

async function head(context: ApiContext, request: FastifyRequest<OfBlob>, reply: FastifyReply): Promise<void> {
  const size = await visible(context, request);
  if (size !== undefined) {
    reply.headers({ 'farfield-have': String(size), 'farfield-size': String(size), 'farfield-complete': 'true' });
    return reply.code(200).send();
  }
  const writes = request.asker?.kind === 'principal' || request.query.ticket !== undefined;
  const have = writes ? await context.blobs.partial(await ownerOf(context, request), request.params.digest) : 0;
  if (have === 0) return reply.code(404).send();
  reply.headers({ 'farfield-have': String(have), 'farfield-complete': 'false' });
  return reply.code(200).send();
}

async function get(context: ApiContext, request: FastifyRequest<OfBlob>, reply: FastifyReply): Promise<FastifyReply> {
  const { digest } = request.params;
  const size = await visible(context, request);
  if (size === undefined) throw new FarfieldError('E_NOT_FOUND', `no blob ${digest} of yours is here`);
  const range = parseRange(request.headers.range, size);
  reply.headers({
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    etag: `"${digest}"`,
    'content-length': String(range.end - range.start),
  });
  if (range.partial) reply.code(206).header('content-range', `bytes ${range.start}-${range.end - 1}/${size}`);
  if (range.end === range.start) return reply.send('');
  return reply.send(context.blobs.read(digest, range.start, range.end - 1));
}

/** One range; several are more than a resume needs, and are answered with the whole. */
function parseRange(header: string | undefined, size: number): { start: number; end: number; partial: boolean } {
  const match = /^bytes=(\d{1,15})-(\d{1,15})?$/.exec(header ?? '');
  if (match === null) return { start: 0, end: size, partial: false };
  const start = Number(match[1]);
  const end = match[2] === undefined ? size : Math.min(size, Number(match[2]) + 1);
  if (start >= size || end <= start)
    throw new FarfieldError('E_BAD_REQUEST', `the range begins at ${start}; the blob has ${size} bytes`);
  return { start, end, partial: true };
}

async function put(context: ApiContext, request: FastifyRequest<PutBlob>): Promise<Static<typeof BlobState>> {
  const { digest } = request.params;
  const size = Number(request.query.size);
  if (size > MAX_BLOB_BYTES)
    throw new FarfieldError(
      'E_TOO_LARGE',
      `a blob has at most ${MAX_BLOB_BYTES} bytes; leave larger data at the endpoint and name its path`,
    );
  const principal = await ownerOf(context, request);
  // Without any bytes (an empty blob, or nothing more to send) Fastify parses no body.
  const bytes: Readable = request.body ?? Readable.from([]);
  if (typeof bytes.pipe !== 'function') {
    throw new FarfieldError('E_BAD_REQUEST', 'a blob is sent as application/octet-stream');
  }
  const commit = (): Promise<unknown> =>
    context.commit('keepBlob', { principal, digest, size, nowS: context.clock.now() / 1000 });
  const have = await context.blobs.append({
    principal,
    digest,
    size,
    offset: Number(request.query.offset ?? 0),
    bytes,
    commit,
  });
  return { digest, size, have, complete: have === size };
}
