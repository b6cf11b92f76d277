/** The OpenAPI 3.1 document, made from the very schemas that the routes check by. */
import swagger from '@fastify/swagger';
import { ROUTES } from '#protos/http.ts';
import type { ApiServer } from './server.ts';

const DESCRIPTION = `Farfield's broker takes signed invocations, queues them for endpoints, and keeps signed results.

Every request carries \`Authorization: Farfield TOKEN\`, a \`farfield-request+jwt\` signed for this method, URL, broker and body, and
\`Farfield-Chain\`, the delegation (and credential) of the key that signed it, joined by commas. A submission proves itself by the
tickets in it; enrolment by its one-use secret.`;

export async function registerOpenApi(app: ApiServer): Promise<void> {
  await app.register(swagger, {
    exposeHeadRoutes: true,
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Farfield broker', version: '1', description: DESCRIPTION },
      components: {
        securitySchemes: {
          request: {
            type: 'apiKey',
            in: 'header',
            name: 'Authorization',
            description: 'Farfield <farfield-request+jwt>',
          },
        },
      },
      security: [{ request: [] }],
    },
  });
  let text: string | undefined;
  app.get(
    ROUTES.openapi.url,
    { config: { asks: 'anyone' }, schema: { summary: 'This document', security: [] } },
    async (_request, reply) => {
      text ??= JSON.stringify(app.swagger());
      return reply.type('application/json').send(text);
    },
  );
}
