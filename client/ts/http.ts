/**
 * Requests to one broker: TLS pinned to its own CA, each request signed for its method, URL, broker and body.
 *
 * Invariants
 *  H1 No bearer secret exists: a request token is good for one method, URL and body, for a minute.
 *  H2 An answer that is not 2xx becomes a FarfieldError with the broker's code; a broken connection is E_UNAVAILABLE and
 *     says that nothing is known about the request's fate.
 */
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import type { Clock } from '#base/clock.ts';
import { DIRECT, type Egress, requestConnect } from '#base/proxy.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { digestOf, uuidv7 } from '#kernel/ids.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import { REQUEST_LIFE_S } from '#kernel/limits.ts';
import { ACCESS_HEADER } from '#protos/http.ts';

/** Where a broker is and how to know it: from an invitation, kept in the profile. */
export interface BrokerAddress {
  readonly url: string;
  readonly ca: string;
  readonly brokerId: string;
}

export interface BrokerHttpOptions {
  readonly broker: BrokerAddress;
  /** The site's proxy and CA; by default neither. */
  readonly egress?: Egress | undefined;
  readonly signer: Signer;
  /** Delegation and credential of the signer; empty when the signer is the long-term key itself. */
  readonly chain: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  /** Called with the number of the newest notice about access, wherever an answer carries one. */
  readonly onAccess?: ((newest: string) => void) | undefined;
}

export interface BrokerRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'HEAD';
  /** Path and query. */
  readonly path: string;
  readonly body?: Uint8Array | Readable;
  /** Digest of a streamed body; a body in memory is hashed here. */
  readonly bodyDigest?: string;
  readonly contentType?: string;
  readonly headers?: Record<string, string>;
  /** A submission authorises itself by its tickets. */
  readonly unsigned?: boolean;
  readonly signal?: AbortSignal;
}

export interface BrokerResponse {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Dispatcher.ResponseData['body'];
}

export interface BrokerHttp extends AsyncDisposable {
  readonly broker: BrokerAddress;
  request(request: BrokerRequest): Promise<BrokerResponse>;
  json<T>(request: BrokerRequest): Promise<T>;
}

export function createBrokerHttp(options: BrokerHttpOptions): BrokerHttp {
  const { broker, signer, chain, clock, random } = options;
  // Two sockets: one is taken for good by the event stream; HTTP/1.1 pipelining would put a submit behind a long read.
  const agent = new Agent({
    connect: requestConnect(options.egress ?? DIRECT, broker.url, broker.ca),
    connections: 8,
    pipelining: 1,
    bodyTimeout: 0,
    headersTimeout: 60_000,
  });

  const authorise = (request: BrokerRequest): Record<string, string> => {
    if (request.unsigned) return {};
    const nowS = Math.floor(clock.now() / 1000);
    const digest = request.bodyDigest ?? (request.body instanceof Uint8Array ? digestOf(request.body) : undefined);
    const token = signToken(
      'farfield-request+jwt',
      {
        v: 1,
        iss: signer.kid,
        aud: broker.brokerId,
        method: request.method,
        url: request.path,
        ...(digest === undefined ? {} : { body: digest }),
        jti: uuidv7(clock.now(), random.bytes(10)),
        iat: nowS,
        exp: nowS + REQUEST_LIFE_S,
      },
      signer,
    );
    return {
      authorization: `Farfield ${token}`,
      ...(chain.length > 0 ? { 'farfield-chain': chain.join(',') } : {}),
    };
  };

  const send = async (request: BrokerRequest): Promise<BrokerResponse> => {
    let answer: Dispatcher.ResponseData;
    try {
      answer = await agent.request({
        origin: broker.url,
        path: request.path,
        method: request.method,
        headers: {
          ...(request.contentType === undefined ? {} : { 'content-type': request.contentType }),
          ...request.headers,
          ...authorise(request),
        },
        ...(request.body === undefined ? {} : { body: request.body }),
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      });
    } catch (cause) {
      if (request.signal?.aborted) throw cause;
      throw new FarfieldError(
        'E_UNAVAILABLE',
        `no answer from the broker at ${broker.url}: ${describe(cause)}. Is it running?`,
        { cause },
      );
    }
    const told = answer.headers[ACCESS_HEADER];
    if (typeof told === 'string') options.onAccess?.(told);
    if (answer.statusCode >= 200 && answer.statusCode < 300) {
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    }
    throw await refusal(answer, request);
  };

  return {
    broker,
    request: send,
    async json<T>(request: BrokerRequest): Promise<T> {
      const answer = await send(request);
      return (await answer.body.json()) as T;
    },
    async [Symbol.asyncDispose]() {
      await agent.destroy();
    },
  };
}

function describe(cause: unknown): string {
  const error = cause as { code?: string; message?: string };
  return error.code ?? error.message ?? String(cause);
}

/** The broker's error body as a FarfieldError; a proxy's page in between has no code and becomes E_UNAVAILABLE. */
async function refusal(answer: Dispatcher.ResponseData, request: BrokerRequest): Promise<FarfieldError> {
  const text = await answer.body.text();
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; retryAfterS?: number } };
    const code = isErrorCode(error.code) ? error.code : 'E_UNAVAILABLE';
    return new FarfieldError(
      code,
      error.message,
      error.retryAfterS === undefined ? {} : { retryAfterS: error.retryAfterS },
    );
  } catch {
    const what = `${request.method} ${request.path.split('?')[0]}`;
    if (answer.statusCode === 404) return new FarfieldError('E_NOT_FOUND', `${what}: nothing there`);
    return new FarfieldError('E_UNAVAILABLE', `${what} answered ${answer.statusCode} without a Farfield error`);
  }
}
