/**
 * `serve`: the Open Inference Protocol (version 2) over HTTP, with its binary tensor extension.
 *
 * On node:http alone. Rejected: fastify, which the broker uses. Of what it adds (schemas, plugins, content types) nothing fits a
 * body that is JSON up to a length in a header and tensors after it, and a runner starts once for every slot: the framework would
 * cost more to load than this file is long, and would be one more package in every image.
 *
 * Invariants
 *  V1 Ready means: every lane ran a batch and the golden rows came out as model.json says. Before, nothing is computed.
 *  V2 What was accepted is answered, also while draining; what comes later is refused with 503 and Retry-After.
 *  V3 A request can fail itself alone; an unexpected error is answered 500 without its text, which goes to the log.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '#base/clock.ts';
import { ERROR_CODES, FarfieldError } from '#kernel/errors.ts';
import type { Batcher } from './batcher.ts';
import { type Held, readBody } from './body.ts';
import {
  FLUSH_MS,
  IDLE_MS,
  MAX_CONNECTIONS,
  MAX_HEADER_BYTES,
  MAX_REQUEST_BYTES,
  REQUEST_MS,
  RETRY_AFTER_S,
} from './limits.ts';
import { type Place, strangeness } from './listen.ts';
import { parseInfer } from './request.ts';
import { encodeAnswer } from './response.ts';
import type { ServedModel } from './served.ts';

/** A model that is ready. */
export interface Ready {
  readonly served: ServedModel;
  readonly batcher: Batcher;
  /** Why nothing more can be computed, if that is so. */
  readonly broken: () => FarfieldError | undefined;
}

export interface ServerParts {
  readonly clock: Clock;
  readonly place: Place;
  readonly version: string;
  readonly log: (text: string) => void;
}

const JSON_TYPE = { 'content-type': 'application/json' } as const;

export class OipServer {
  readonly http: Server;
  readonly #parts: ServerParts;
  readonly #held: Held = { bytes: 0 };
  readonly #answering = new Set<ServerResponse>();
  #ready: Ready | undefined;
  #draining = false;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.http = createServer({
      maxHeaderSize: MAX_HEADER_BYTES,
      requestTimeout: REQUEST_MS,
      headersTimeout: REQUEST_MS,
      keepAliveTimeout: IDLE_MS,
    });
    this.http.maxConnections = MAX_CONNECTIONS;
    this.http.on('request', (request, response) => void this.#answer(request, response));
  }

  /** V1. From here on it computes. */
  open(ready: Ready): void {
    this.#ready = ready;
  }

  /** V2. Answers what is queued, then closes. Who does not read its answer within FLUSH_MS is cut off. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.#ready?.batcher.drain();
    const closed = new Promise<void>((resolve) => this.http.close(() => resolve()));
    this.http.closeIdleConnections();
    const late = this.#parts.clock.after(FLUSH_MS, () => this.http.closeAllConnections());
    await Promise.all(
      [...this.#answering].map((response) => new Promise((resolve) => response.once('close', resolve))),
    );
    this.http.closeAllConnections();
    await closed;
    late.cancel();
  }

  /** Every failure becomes the protocol's {"error": ...}. Never rejects. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#answering.add(response);
    response.once('close', () => this.#answering.delete(response));
    // Without a listener an aborted request would end the process.
    request.on('error', () => {});
    response.on('error', () => {});
    try {
      const strange = strangeness(this.#parts.place, request.headers);
      if (strange !== undefined) throw new FarfieldError('E_FORBIDDEN', strange);
      await this.#route(request, response);
    } catch (reason) {
      this.#fail(request, response, reason);
    }
  }

  #fail(request: IncomingMessage, response: ServerResponse, reason: unknown): void {
    const error = FarfieldError.from(reason);
    if (error.code === 'E_INTERNAL') this.#parts.log(reason instanceof Error ? (reason.stack ?? '') : String(reason));
    const again = ERROR_CODES[error.code].retryable ? { 'retry-after': error.retryAfterS ?? RETRY_AFTER_S } : {};
    // What is left of the body would be read as the next request.
    const unread = request.complete ? {} : { connection: 'close' };
    const text = error.code === 'E_INTERNAL' ? 'a defect in the runner; its log says more' : error.message;
    this.#send(response, ERROR_CODES[error.code].http, { error: text }, { ...again, ...unread });
  }

  #send(response: ServerResponse, status: number, value: unknown, headers: Record<string, string | number> = {}): void {
    if (response.headersSent || response.destroyed) return;
    const body = Buffer.from(JSON.stringify(value));
    const last = this.#draining ? { connection: 'close' } : {};
    response.writeHead(status, { ...JSON_TYPE, 'content-length': body.byteLength, ...last, ...headers });
    response.end(body);
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    const [first, second, ...rest] = path.replace(/^\//, '').replace(/\/$/, '').split('/').map(decoded);
    if (first !== 'v2') throw notFound(path);
    if (second === 'models' && rest.length > 0) return this.#routeModel(request, response, path, rest);
    if (rest.length > 1 || (rest.length === 1 && second !== 'health')) throw notFound(path);
    if (!allowed(request, 'GET')) return this.#wrongMethod(request, response, 'GET');
    if (second === undefined) {
      return this.#send(response, 200, {
        name: 'farfield-runner',
        version: this.#parts.version,
        extensions: ['binary_tensor_data'],
      });
    }
    if (second !== 'health') throw notFound(path);
    if (rest[0] === 'live') return this.#send(response, 200, { live: true });
    if (rest[0] === 'ready') return this.#sendReadiness(response, {});
    throw notFound(path);
  }

  /** `models/M[/versions/V][/ready | /infer]`. */
  async #routeModel(request: IncomingMessage, response: ServerResponse, path: string, parts: string[]): Promise<void> {
    const [name = '', ...rest] = parts;
    const version = rest[0] === 'versions' ? (rest.splice(0, 2)[1] ?? '') : undefined;
    const [verb, ...more] = rest;
    const known = verb === undefined || verb === 'ready' || verb === 'infer';
    if (more.length > 0 || !known || version === '') throw notFound(path);
    const method = verb === 'infer' ? 'POST' : 'GET';
    if (!allowed(request, method)) return this.#wrongMethod(request, response, method);
    const { served, batcher } = this.#mustBeLoaded();
    if (name !== served.name || (version !== undefined && version !== served.version)) {
      const text = `no model ${[name, version].filter(Boolean).join(' ').slice(0, 100)} here; ${served.name} ${served.version} is`;
      throw new FarfieldError('E_NOT_FOUND', text);
    }
    if (verb === undefined) return this.#send(response, 200, served.metadata);
    if (verb === 'ready') return this.#sendReadiness(response, { name: served.name });
    if (this.#draining) throw unavailable('the runner is ending; ask another one');
    return this.#infer(request, response, served, batcher);
  }

  async #infer(
    request: IncomingMessage,
    response: ServerResponse,
    served: ServedModel,
    batcher: Batcher,
  ): Promise<void> {
    const headerLength = headerLengthOf(request);
    using body = await readBody(request, this.#held, MAX_REQUEST_BYTES);
    const parsed = parseInfer(served, body.bytes, headerLength);
    // Asked again: the body may have taken its time.
    if (this.#draining) throw unavailable('the runner is ending; ask another one');
    const gone = new AbortController();
    const left = (): void => gone.abort();
    response.once('close', left);
    const answers = await batcher.submit(parsed, gone.signal);
    response.off('close', left);
    const { headers, body: answer } = encodeAnswer(served, parsed, answers);
    if (response.destroyed) return;
    response.writeHead(200, { ...headers, ...(this.#draining ? { connection: 'close' } : {}) });
    for (const part of answer) response.write(part);
    response.end();
  }

  #mustBeLoaded(): Ready {
    if (this.#ready === undefined) throw unavailable('the model is loading, or in its golden check');
    return this.#ready;
  }

  /** 503 with the reason while it is not ready: a prober needs the status, a person the text. */
  #sendReadiness(response: ServerResponse, more: Record<string, unknown>): void {
    const ready = this.#ready !== undefined && !this.#draining && this.#ready.broken() === undefined;
    const headers = ready ? {} : { 'retry-after': RETRY_AFTER_S };
    this.#send(response, ready ? 200 : 503, { ...more, ready }, headers);
  }

  #wrongMethod(request: IncomingMessage, response: ServerResponse, method: string): void {
    const unread = request.complete ? {} : { connection: 'close' };
    this.#send(response, 405, { error: `${method} is the method of this address` }, { allow: method, ...unread });
  }
}

/** HEAD asks for what GET gives, without the body, which node leaves out. */
function allowed({ method }: IncomingMessage, wanted: 'GET' | 'POST'): boolean {
  return method === wanted || (wanted === 'GET' && method === 'HEAD');
}

/** The extension's header, which is a length in decimal digits and nothing else. */
function headerLengthOf({ headers }: IncomingMessage): number | undefined {
  const value = headers['inference-header-content-length'];
  if (value === undefined) return undefined;
  if (typeof value === 'string' && /^\d{1,10}$/.test(value)) return Number(value);
  throw new FarfieldError('E_INPUT', 'Inference-Header-Content-Length must be the number of bytes of the JSON');
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (reason) {
    throw new FarfieldError('E_INPUT', 'the address holds a broken % sequence', { cause: reason });
  }
}

function notFound(path: string): FarfieldError {
  const text = `nothing at ${path.slice(0, 200)}; /v2, /v2/health/ready and /v2/models/NAME[/versions/VERSION][/ready|/infer] are`;
  return new FarfieldError('E_NOT_FOUND', text);
}

function unavailable(text: string): FarfieldError {
  return new FarfieldError('E_UNAVAILABLE', text, { retryAfterS: RETRY_AFTER_S });
}
