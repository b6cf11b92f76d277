/** What the operator may ask a running broker, over its control socket. */
import { type Static, Type as T } from 'typebox';
import type { ControlHandlers } from '#base/control.ts';
import { assertShape } from '#kernel/schema.ts';
import type { Broker } from './broker.ts';

const InviteBody = T.Object(
  { kind: T.Union([T.Literal('endpoint'), T.Literal('user')]), id: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }) },
  { additionalProperties: false },
);
export type InviteBody = Static<typeof InviteBody>;

export function adminHandlers(broker: Broker, stop: () => void): ControlHandlers {
  return {
    status: async () => ({ ...(await broker.status()), pid: process.pid, rssBytes: process.memoryUsage.rss() }),
    invite: async ({ body }) => {
      const { kind, id } = assertShape(InviteBody, body, 'E_USAGE', 'the invitation');
      return { token: await broker.invite(kind, id) };
    },
    stop: async () => {
      // Answered first: the socket is among what ends.
      setImmediate(stop);
      return { stopping: true };
    },
  };
}
