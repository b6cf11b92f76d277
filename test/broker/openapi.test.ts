/** The OpenAPI document: valid 3.1, every route in it, bodies and authorisation as the routes have them. */
import { Validator } from '@seriousme/openapi-schema-validator';
import t from 'tap';
import { ROUTES } from '#protos/http.ts';
import { startTestBroker } from './setting.ts';

interface Operation {
  readonly security: readonly object[];
  readonly parameters?: readonly { name: string; in: string }[];
  readonly requestBody?: { content: Record<string, { schema: object }> };
  readonly responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
interface OpenApi {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { schemas: Record<string, object>; securitySchemes: Record<string, object> };
}

const { broker } = await startTestBroker(t);
const { fetch, Agent } = await import('undici');
const dispatcher = new Agent({ connect: { ca: broker.ca, checkServerIdentity: () => undefined } });
t.teardown(() => dispatcher.close());
const document = (await (await fetch(new URL(ROUTES.openapi.url, broker.url), { dispatcher })).json()) as OpenApi;

const operation = (route: keyof typeof ROUTES): Operation => {
  const { method, url } = ROUTES[route];
  const found = document.paths[url.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()];
  if (found === undefined) throw new Error(`${method} ${url} is not in the document`);
  return found;
};
const names = Object.keys(ROUTES) as (keyof typeof ROUTES)[];

t.test('it is a valid OpenAPI 3.1 document', async (t) => {
  t.equal(document.openapi, '3.1.0');
  const { valid, errors } = await new Validator().validate({ ...document });
  t.ok(valid, JSON.stringify(errors));
});

t.test('every route is in it, and every one that takes a body says which', async (t) => {
  for (const name of names) {
    const { requestBody, responses } = operation(name);
    const takes = ['POST', 'PUT'].includes(ROUTES[name].method);
    t.equal(requestBody !== undefined, takes, `${name}: a body`);
    const success = Object.entries(responses).filter(([status]) => status.startsWith('2'));
    t.ok(success.length > 0, `${name}: an answer`);
    for (const [status, { content }] of success)
      t.ok(content !== undefined || name === 'blobHead' || name === 'openapi', `${name} ${status}: content`);
  }
  t.same(Object.keys(operation('submit').requestBody?.content ?? {}), ['application/vnd.farfield.submission']);
  t.same(Object.keys(operation('blobPut').requestBody?.content ?? {}), ['application/octet-stream']);
  t.same(Object.keys(operation('events').responses['200']?.content ?? {}), ['text/event-stream']);
});

t.test('what the bytes and events hold can be looked up by the names that the text uses', async (t) => {
  const text = JSON.stringify([operation('submit'), operation('events')]);
  const named = ['SubmissionHeader', 'PackJson', 'ItemsEvent', 'RunningEvent', 'LogEvent', 'RefusalEvent'];
  for (const name of named) {
    t.match(text, name);
    t.match(document.components.schemas[name], { type: 'object', properties: Object }, name);
  }
});

t.test('authorisation is said as the routes ask for it', async (t) => {
  const open = ['health', 'ready', 'openapi', 'enrol', 'submit'];
  for (const name of names) {
    const scheme = open.includes(name) ? [] : name === 'users' ? [{ stranger: [] }] : [{ signed: [] }];
    const { security, parameters = [] } = operation(name);
    t.same(security, scheme, name);
    const chain = parameters.some((parameter) => parameter.in === 'header' && /farfield-chain/i.test(parameter.name));
    t.equal(
      chain,
      scheme.some((one) => 'signed' in one),
      `${name}: Farfield-Chain`,
    );
  }
  t.same(Object.keys(document.components.securitySchemes).sort(), ['signed', 'stranger']);
});
