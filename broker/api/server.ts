/**
 * The HTTPS server: who may reach it, how much it reads before it knows who asks, and how it says no.
 *
 * Invariants
 *  R1 TLS 1.3 only. Host must be one of ours; a request with an Origin that is not is refused (DNS rebinding, pages).
 *  R2 A body is read whole only up to its route's limit, and all unverified bodies together only up to UNVERIFIED_BYTES.
 *  R3 Every refusal has the same body, with a code of kernel/errors.ts; a defect tells its number, not its cause.
 *  R4 The schemas that check are the schemas that the OpenAPI document shows.
 */
import type { Server } from 'node:https';
import type { Readable } from 'node:stream';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { TSchema } from 'typebox';
import { ERROR_CODES, FarfieldError } from '#kernel/errors.ts';
import { digestOf } from '#kernel/ids.ts';
import { parseStrict } from '#kernel/json.ts';
import { MAX_SUBMISSION_BYTES } from '#kernel/limits.ts';
import { check } from '#kernel/schema.ts';
import { ACCESS_HEADER, type ErrorBody, ROUTES, SUBMISSION_TYPE, UserBody } from '#protos/http.ts';
import type { Asker } from './authorise.ts';
import type { ApiContext } from './context.ts';
import { registerOpenApi } from './openapi.ts';
import { registerAccessRoutes } from './routes-access.ts';
import { registerBlobRoutes } from './routes-blobs.ts';
import { registerCallRoutes } from './routes-calls.ts';
import { registerPeopleRoutes } from './routes-people.ts';

export interface ServerOptions {
  readonly tls: { readonly key: string; readonly cert: string };
  /** Values of Host that are ours: `name` for any port, or `name:port`. */
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
}

export type ApiServer = FastifyInstance<Server>;

/** Every client is ours, or a browser of these years. */
export const MIN_TLS = 'TLSv1.3';
/** Bodies that are being read from senders who have not proved anything yet. */
const UNVERIFIED_BYTES = 256 * 1024 * 1024;
const MAX_JSON_BYTES = 256 * 1024;
/** The first part of every path (protos/http.ts). */
const API_VERSION = 1;
/** A large blob over a thin line; what is cut off resumes. */
const REQUEST_TIMEOUT_MS = 3600_000;
const HEADERS_TIMEOUT_MS = 30_000;
const MAX_SOCKETS = 4096;

export async function createApiServer(context: ApiContext, options: ServerOptions): Promise<ApiServer> {
  let requests = 0;
  const app = Fastify<Server>({
    https: { ...options.tls, minVersion: MIN_TLS },
    logger: false,
    bodyLimit: MAX_JSON_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    exposeHeadRoutes: false,
    // Of this process: it leads from an answer to a line of the log.
    genReqId: () => String(++requests),
    routerOptions: { maxParamLength: 128 },
  });
  app.server.headersTimeout = HEADERS_TIMEOUT_MS;
  app.server.maxConnections = MAX_SOCKETS;
  app.decorateRequest('asker', undefined);
  app.decorateRequest('rawBody', undefined);
  app.setValidatorCompiler(({ schema, httpPart }) => (value: unknown) => {
    const checked = check(schema as TSchema, value);
    if (checked.ok) return { value: checked.value };
    const where = [httpPart, checked.path].filter((part) => part !== undefined && part !== '').join('.');
    return { error: new FarfieldError('E_BAD_REQUEST', `${where} ${checked.message}`) };
  });
  // What goes out is typed by the same schemas; checking it again at run time would cost a third of a status request.
  app.setSerializerCompiler(() => (value) => JSON.stringify(value));
  countRequests(app, context);
  guardHost(app, options);
  guardBytes(app);
  readBodies(app);
  guardAskers(app, context);
  answerErrors(app, context);
  await registerOpenApi(app);
  await app.register((scope, _options, done) => {
    registerPeopleRoutes(scope as ApiServer, context);
    registerCallRoutes(scope as ApiServer, context);
    registerAccessRoutes(scope as ApiServer, context);
    registerBlobRoutes(scope as ApiServer, context);
    done();
  });
  return app;
}

/** Routes by what fastify calls them. */
const ROUTE_NAMES = new Map(Object.entries(ROUTES).map(([name, { method, url }]) => [`${method} ${url}`, name]));

/** A path that is no route, and whatever a stranger makes up, is `other`: labels stay few (metrics.ts, M2). */
function routeName(request: FastifyRequest): string {
  return ROUTE_NAMES.get(`${request.method} ${request.routeOptions.url ?? ''}`) ?? 'other';
}

/** How long these take is decided by whoever reads or sends. */
const UNTIMED = new Set<string>(['events', 'blobGet', 'blobPut']);

function countRequests(app: ApiServer, { metrics }: ApiContext): void {
  app.addHook('onResponse', async (request, reply) => {
    const route = routeName(request);
    metrics.requests.add([route, String(reply.raw.statusCode)]);
    if (!UNTIMED.has(route)) metrics.requestSeconds.observe(reply.elapsedTime / 1000);
  });
}

function guardHost(app: ApiServer, { hosts, origins }: ServerOptions): void {
  app.addHook('onRequest', async (request) => {
    const host = request.headers.host ?? '';
    if (!hosts.includes(host) && !hosts.includes(host.replace(/:\d+$/, ''))) {
      throw new FarfieldError('E_FORBIDDEN', `this broker does not answer for host "${host.slice(0, 100)}"`);
    }
    const { origin } = request.headers;
    if (origin !== undefined && !origins.includes(origin)) {
      throw new FarfieldError('E_FORBIDDEN', 'requests from web pages are not taken here');
    }
  });
}

/** R2 for the one route whose large body is its own proof. */
function guardBytes(app: ApiServer): void {
  let reading = 0;
  const held = new WeakMap<FastifyRequest, number>();
  const release = (request: FastifyRequest): void => {
    reading -= held.get(request) ?? 0;
    held.delete(request);
  };
  app.addHook('onRequest', async (request) => {
    if (request.headers['content-type'] !== SUBMISSION_TYPE) return;
    const length = Number(request.headers['content-length'] ?? Number.NaN);
    if (!Number.isInteger(length))
      throw new FarfieldError('E_BAD_REQUEST', 'a submission says its length (Content-Length)');
    if (length > MAX_SUBMISSION_BYTES) {
      throw new FarfieldError(
        'E_TOO_LARGE',
        `a submission has at most ${MAX_SUBMISSION_BYTES} bytes, not ${length}; split it, or upload large arguments as blobs`,
      );
    }
    if (reading + length > UNVERIFIED_BYTES)
      throw new FarfieldError('E_BUSY', 'too many submissions at once; try again soon', { retryAfterS: 1 });
    held.set(request, length);
    reading += length;
    // Socket and not reply: a sender that goes away in the middle has no reply.
    request.raw.once('close', () => release(request));
  });
  app.addHook('onResponse', async (request) => release(request));
}

function readBodies(app: ApiServer): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    request.rawBody = body;
    return parseStrict(body, 'E_BAD_REQUEST');
  });
  app.addContentTypeParser(
    SUBMISSION_TYPE,
    { parseAs: 'buffer', bodyLimit: MAX_SUBMISSION_BYTES },
    async (_request: FastifyRequest, body: Buffer) => body,
  );
  // A blob stays a stream: the route reads it, after it knows who asks.
  app.addContentTypeParser('application/octet-stream', (_request: FastifyRequest, payload: Readable, done) =>
    done(null, payload),
  );
}

function guardAskers(app: ApiServer, { authorise, access }: ApiContext): void {
  app.addHook('preHandler', async (request, reply) => {
    const asks = request.routeOptions.config.asks ?? 'signed';
    if (asks === 'anyone' || request.is404) return;
    const { headers, method, rawBody } = request;
    const chain = headers['farfield-chain'];
    const stranger = asks === 'stranger' ? check(UserBody, request.body) : undefined;
    request.asker = authorise({
      method,
      url: request.raw.url ?? '',
      authorization: headers.authorization,
      chain: typeof chain === 'string' ? chain : undefined,
      bodyDigest: rawBody === undefined ? undefined : digestOf(rawBody),
      ...(stranger?.ok === true ? { ownJwk: stranger.value.jwk } : {}),
    });
    // On refusals too: whoever is told no may have been let in elsewhere meanwhile.
    const told = request.asker.kind === 'principal' ? access.newest(request.asker.principal) : undefined;
    if (told !== undefined) reply.header(ACCESS_HEADER, told);
  });
}

function answerErrors(app: ApiServer, { log, metrics }: ApiContext): void {
  app.setErrorHandler((reason: unknown, request, reply) => {
    const error = errorOf(reason);
    metrics.refusals.add([routeName(request), error.code]);
    if (error.code === 'E_INTERNAL')
      log.error({ request: request.id, route: request.routeOptions.url, err: reason }, 'request failed');
    if (reply.raw.headersSent) return reply.raw.destroy();
    if (error.retryAfterS !== undefined) reply.header('retry-after', String(Math.ceil(error.retryAfterS)));
    return reply.code(ERROR_CODES[error.code].http).send(bodyOf(error, request.id));
  });
  app.setNotFoundHandler((request, reply) => {
    const error = notFound(request.method, (request.raw.url ?? '').split('?')[0]?.slice(0, 200) ?? '');
    metrics.refusals.add([routeName(request), error.code]);
    return reply.code(ERROR_CODES[error.code].http).send(bodyOf(error, request.id));
  });
}

/** Another version of the API is told apart from a wrong path: whoever asks for it has to upgrade a side. */
function notFound(method: string, path: string): FarfieldError {
  const version = Number(/^\/v(\d{1,6})\//.exec(path)?.[1] ?? API_VERSION);
  if (version === API_VERSION)
    return new FarfieldError(
      'E_NOT_FOUND',
      `${method} ${path} is no part of this API; see /v${API_VERSION}/openapi.json`,
    );
  const older = version > API_VERSION ? 'the broker, or use the client that came with it' : 'this client';
  return new FarfieldError(
    'E_VERSION',
    `this broker speaks version ${API_VERSION} of the API, and ${method} ${path} is of version ${version}; upgrade ${older}`,
    { details: { mineMin: API_VERSION, mineMax: API_VERSION, theirs: version } },
  );
}

/** Fastify's own refusals (a body over its limit, a wrong content type) under our codes. */
function errorOf(reason: unknown): FarfieldError {
  if (reason instanceof FarfieldError) return reason;
  const { statusCode, message } = reason as { statusCode?: number; message?: string };
  if (statusCode === 413) return new FarfieldError('E_TOO_LARGE', 'the body is over the limit of this route');
  if (statusCode !== undefined && statusCode < 500)
    return new FarfieldError('E_BAD_REQUEST', message ?? 'a request that cannot be read');
  return FarfieldError.from(reason);
}

function bodyOf(error: FarfieldError, requestId: string): ErrorBody {
  const internal = error.code === 'E_INTERNAL';
  return {
    error: {
      code: error.code,
      message: internal ? `a defect in the broker (request ${requestId}); its log says more` : error.message,
      ...(error.retryAfterS === undefined ? {} : { retryAfterS: error.retryAfterS }),
      ...(Object.keys(error.details).length === 0 ? {} : { details: { ...error.details } }),
    },
  };
}

/** The principal who asks; endpoints and strangers have nothing to see there. */
export function principalOf(asker: Asker | undefined): string {
  if (asker?.kind !== 'principal') throw new FarfieldError('E_FORBIDDEN', 'only a user may ask this');
  return asker.principal;
}
