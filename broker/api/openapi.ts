/**
 * The OpenAPI 3.1 document, made from the very schemas that the routes check by. Who may ask (`config.asks`) decides what the
 * document says of authorisation; a body that is no JSON is told by `config.takes` and `config.gives`.
 */
import swagger, { type SwaggerTransform } from '@fastify/swagger';
import type { FastifyContextConfig, FastifySchema } from 'fastify';
import { Type as T, type TObject, type TSchema } from 'typebox';
import { PackJson } from '#kernel/receipts.ts';
import {
  AccessEvent,
  ItemsEvent,
  LogEvent,
  RefusalEvent,
  ROUTES,
  RunningEvent,
  SubmissionHeader,
} from '#protos/http.ts';
import type { PlainBody } from './context.ts';
import type { ApiServer } from './server.ts';

const DESCRIPTION = `Farfield's broker takes signed invocations, queues them for endpoints, and keeps signed results.

Every request carries \`Authorization: Farfield TOKEN\`, a \`farfield-request+jwt\` signed for this method, URL, broker and body, and
\`Farfield-Chain\`, the delegation (and credential) of the key that signed it, joined by commas. A submission proves itself by the
tickets in it; enrolment by its one-use secret.`;

/** What is inside bytes and event streams, to look up by name: OpenAPI 3.1 has no words for either. */
const INSIDE: Readonly<Record<string, TSchema>> = {
  SubmissionHeader,
  PackJson,
  ItemsEvent,
  RunningEvent,
  LogEvent,
  RefusalEvent,
  AccessEvent,
};

/** Beside the signed request token; an endpoint, and a user by its long-term key, sign for themselves and send none. */
const CHAIN_HEADER = T.Object({
  'Farfield-Chain': T.Optional(
    T.String({
      description:
        'farfield-delegation+jwt of the session key that signed the request, and credentials, joined by commas',
    }),
  ),
});

const withChain = (headers: unknown): TSchema =>
  headers === undefined ? CHAIN_HEADER : T.Object({ ...(headers as TObject).properties, ...CHAIN_HEADER.properties });

const binary = ({ description }: PlainBody): object => ({ type: 'string', format: 'binary', description });

/** The schemas of a route as the document shows them. */
const shown: SwaggerTransform = ({ schema, url, route }) => {
  const { asks = 'signed', takes, gives = {} } = (route.config ?? {}) as FastifyContextConfig;
  const replies = Object.entries(gives).map(([status, body]) => [
    status,
    {
      description: body.description,
      ...(body.type === undefined ? {} : { content: { [body.type]: { schema: binary(body) } } }),
    },
  ]);
  const documented: FastifySchema = {
    ...schema,
    security: asks === 'anyone' ? [] : [{ [asks]: [] }],
    ...(asks === 'signed' ? { headers: withChain(schema.headers) } : {}),
    ...(takes === undefined ? {} : { body: binary(takes), consumes: [takes.type] }),
    ...(replies.length === 0
      ? {}
      : { response: { ...(schema.response as object | undefined), ...Object.fromEntries(replies) } }),
  };
  return { schema: documented, url };
};

export async function registerOpenApi(app: ApiServer): Promise<void> {
  await app.register(swagger, {
    exposeHeadRoutes: true,
    transform: shown,
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Farfield broker', version: '1', description: DESCRIPTION },
      components: {
        schemas: INSIDE as Record<string, object>,
        securitySchemes: {
          signed: {
            type: 'apiKey',
            in: 'header',
            name: 'Authorization',
            description: 'Farfield <farfield-request+jwt>, signed by a session key, a long-term key, or an endpoint',
          },
          stranger: {
            type: 'apiKey',
            in: 'header',
            name: 'Authorization',
            description: 'Farfield <farfield-request+jwt>, signed by the key that the body brings: it is no user yet',
          },
        },
      },
    },
  });
  let text: string | undefined;
  app.get(
    ROUTES.openapi.url,
    { config: { asks: 'anyone' }, schema: { summary: 'This document' } },
    async (_, reply) => {
      text ??= JSON.stringify(app.swagger());
      return reply.type('application/json').send(text);
    },
  );
}
