/**
 * Where links arrive: challenge, hello, fencing, and the life of each session.
 *
 * Invariants
 *  H1 A session exists in the store (its epoch committed) before its welcome is sent.
 *  H2 One session of an endpoint lives: a newer one ends the older with E_FENCED, also where two hellos race.
 *  H3 A refusal is said to the peer and logged; it costs no row in the store.
 */
import type { Clock } from '#base/clock.ts';
import { serveLinks } from '#base/link/accept.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import type { Acceptor } from '#base/link/seam.ts';
import type { Session, SessionTimes } from '#base/link/session.ts';
import { type Logger, plain } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { thumbprint } from '#kernel/ids.ts';
import type { Hello } from '#protos/generated/link.js';
import type { Directory, EndpointEntry } from '../directory.ts';
import type { BrokerMetrics } from '../metrics.ts';
import { verifyHello } from './hello.ts';
import { createEndpointSession, type EndpointSession, type SessionParts } from './session.ts';

export interface LinkHostOptions extends SessionParts {
  readonly brokerId: string;
  readonly directory: Directory;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: BrokerMetrics;
  readonly times?: Partial<SessionTimes>;
}

export interface LinkHost extends AsyncDisposable {
  /** Serves the acceptor's links until it is disposed, which its owner does before it disposes of the host. */
  accept(acceptor: Acceptor): void;
}

interface Peer {
  readonly entry: EndpointEntry;
  readonly sessionEpoch: number;
  readonly ledgerEpoch: number;
  readonly status: string;
}

export function createLinkHost(options: LinkHostOptions): LinkHost {
  const { clock, log, directory } = options;
  const loops: Promise<void>[] = [];
  return {
    accept(acceptor) {
      const loop = serveLinks<LinkMessage, Peer>(acceptor, {
        codec: linkCodec,
        clock,
        random: options.random,
        acceptor: options.brokerId,
        ...(options.times === undefined ? {} : { times: options.times }),
        verify: (hello, { nonce }) => welcome(options, hello, nonce),
        onSession: (session, peer) => serve(options, session, peer),
        onRefused(link, code, reason) {
          options.metrics.linkRefusals.add([code]);
          log.warn({ remote: link.remote, code, reason: plain(reason) }, 'link refused');
        },
        onError: (error, link) => log.error({ remote: link.remote, err: error }, 'link failed'),
      });
      loops.push(loop);
    },
    async [Symbol.asyncDispose]() {
      for (const entry of directory.endpoints()) {
        entry.session?.facts.session.close('E_UNAVAILABLE', 'the broker stops; it will be back', 1);
      }
      await Promise.all(loops);
    },
  };
}

async function welcome(
  options: LinkHostOptions,
  hello: Hello,
  nonce: string,
): Promise<{ welcome: { sessionEpoch: number }; peer: Peer }> {
  const { directory, clock, commit, brokerId } = options;
  const nowS = clock.now() / 1000;
  const verified = await verifyHello(hello, nonce, brokerId, clock.now());
  const { iss: endpoint, seq, sign } = verified.descriptor.claims;
  const { ledgerEpoch } = verified.status.claims;
  const begun = await commit('begin', {
    endpoint,
    descriptor: hello.descriptor,
    seq,
    online: sign,
    onlineKid: thumbprint(sign),
    status: hello.status,
    ledger: ledgerEpoch,
    claimedEpoch: verified.hello.claims.sessionEpoch,
    live: directory.endpoint(endpoint)?.session?.confirmed ?? false,
    nowS,
  });
  if (begun.kind === 'refused') throw new FarfieldError(begun.code, begun.message);
  if (begun.lostItems > 0)
    options.log.error({ endpoint, items: begun.lostItems }, 'ALARM: the endpoint lost its ledger and the items in it');
  const entry = directory.putEndpoint({
    id: endpoint,
    descriptor: hello.descriptor,
    online: sign,
    onlineKid: thumbprint(sign),
  });
  const { sessionEpoch } = begun;
  // H2: at once, not when the new one is served; a slow welcome must leave no two that answer.
  if (sessionEpoch > entry.sessionEpoch) {
    entry.sessionEpoch = sessionEpoch;
    entry.status = hello.status;
    fence(entry);
  }
  return { welcome: { sessionEpoch }, peer: { entry, sessionEpoch, ledgerEpoch: ledgerEpoch.n, status: hello.status } };
}

function fence(entry: EndpointEntry): void {
  entry.session?.facts.session.close(
    'E_FENCED',
    `another agent of endpoint ${entry.id} connected; if it is not yours, its state folder was copied`,
  );
}

async function serve(options: LinkHostOptions, session: Session<LinkMessage>, peer: Peer): Promise<void> {
  const { directory, log } = options;
  const { entry, sessionEpoch, ledgerEpoch } = peer;
  if (entry.sessionEpoch !== sessionEpoch)
    return session.close('E_FENCED', `another agent of endpoint ${entry.id} connected meanwhile`);
  const facts = { endpoint: entry.id, sessionEpoch, ledgerEpoch, online: entry.online, session };
  const live: EndpointSession = createEndpointSession(options, facts);
  directory.connected(entry, live);
  options.metrics.linkSessions.add([session.transport]);
  log.info(
    { endpoint: entry.id, sessionEpoch, transport: session.transport, remote: session.remote },
    'endpoint connected',
  );
  const end = await live.serve((status) => {
    entry.status = status;
  });
  // A goodbye that names no time means that the agent stops; anything else that it will be back.
  directory.disconnected(entry, live, !(end.kind === 'bye' && end.by === 'peer' && end.retryAfterS === 0));
  log.info({ endpoint: entry.id, sessionEpoch, end }, 'endpoint disconnected');
}
