/** What the routes are given: the parts of a running broker. */
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import type { createChainCache } from '#kernel/chain.ts';
import type { AccessBoard } from '../access-board.ts';
import type { BlobFiles } from '../blobs/files.ts';
import type { Commit } from '../committed.ts';
import type { Directory } from '../directory.ts';
import type { Hub } from '../events/hub.ts';
import type { BrokerMetrics } from '../metrics.ts';
import type { RunningBoard } from '../running.ts';
import type { BrokerStore } from '../store/store.ts';
import type { Submit } from '../submit/submit.ts';
import type { Asker, Authoriser } from './authorise.ts';

export interface ApiContext {
  readonly brokerId: string;
  readonly generation: string;
  readonly store: BrokerStore;
  readonly commit: Commit;
  readonly directory: Directory;
  readonly hub: Hub;
  readonly running: RunningBoard;
  readonly blobs: BlobFiles;
  readonly submit: Submit;
  readonly chains: ReturnType<typeof createChainCache>;
  readonly authorise: Authoriser;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: BrokerMetrics;
  readonly access: AccessBoard;
}

/** A body that is no JSON: its media type, and in words what it holds. */
export interface PlainBody {
  readonly type: string;
  readonly description: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the authorisation hook on every route that needs it. */
    asker: Asker | undefined;
    /** The exact bytes of a body that was read whole. */
    rawBody: Uint8Array | undefined;
  }
  interface FastifyContextConfig {
    /** Who may ask: anybody (the body proves itself), a signed asker, or also a key that is no user yet. */
    readonly asks?: 'anyone' | 'signed' | 'stranger';
    /** For the OpenAPI document: bodies that are bytes or text of their own form, which no JSON schema checks. */
    readonly takes?: PlainBody;
    readonly gives?: Readonly<Record<number, PlainBody | { readonly type?: never; readonly description: string }>>;
  }
}
