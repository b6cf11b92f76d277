/**
 * The broker's state folder and configuration: `broker init` writes `broker.json`, an operator may edit it.
 *
 *   broker.json  keys/broker.pem  ca/  broker.db  blobs/  admin.sock  health.sock  broker.log
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Static, Type as T } from 'typebox';
import { openPrivateFolder, writeDurableSync } from '#base/files.ts';
import { createKeyFile } from '#base/keys.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { parseStrict } from '#kernel/json.ts';
import { DEFAULT_RETENTION_S } from '#kernel/limits.ts';
import { assertShape } from '#kernel/schema.ts';
import { HealthShape } from './health.ts';
import { MAX_OPEN_ITEMS } from './limits.ts';

const Port = T.Integer({ minimum: 0, maximum: 65535 });
export const BrokerConfig = T.Object(
  {
    v: T.Literal(1),
    /** Address to listen on, for both ports. */
    host: T.String({ minLength: 1 }),
    /** HTTPS: API, events, and links over WebSocket. */
    port: Port,
    /** Links over gRPC. */
    grpcPort: Port,
    /** Names under which clients and agents reach the broker; the first one is in invitations. */
    names: T.Array(T.String({ minLength: 1, maxLength: 253 }), { minItems: 1, maxItems: 32 }),
    /** Origins of web pages that may ask; none by default. */
    origins: T.Optional(T.Array(T.String(), { maxItems: 32 })),
    /** Results, and tickets after their end. */
    retentionS: T.Optional(T.Integer({ minimum: 3600, maximum: 366 * 86400 })),
    /** Items that one principal may have open at once. */
    maxOpenItems: T.Optional(T.Integer({ minimum: 1 })),
    /** Pages of 4 KiB that the database may have; the disk decides when left out. */
    maxPageCount: T.Optional(T.Integer({ minimum: 64 })),
    /** /livez, /readyz and metrics for monitoring on this machine; off unless it is set. */
    health: T.Optional(HealthShape),
    logLevel: T.Optional(T.Union([T.Literal('debug'), T.Literal('info'), T.Literal('warn'), T.Literal('error')])),
  },
  { additionalProperties: false },
);
export type BrokerConfig = Static<typeof BrokerConfig>;
export type ResolvedBrokerConfig = Required<Omit<BrokerConfig, 'health'>> & Pick<BrokerConfig, 'health'>;

export interface BrokerFolder {
  readonly root: string;
  readonly config: string;
  readonly key: string;
  readonly ca: string;
  readonly database: string;
  readonly blobs: string;
  readonly control: string;
  readonly health: string;
  readonly log: string;
}

export function brokerFolder(root: string): BrokerFolder {
  return {
    root,
    config: join(root, 'broker.json'),
    key: join(root, 'keys', 'broker.pem'),
    ca: join(root, 'ca'),
    database: join(root, 'broker.db'),
    blobs: join(root, 'blobs'),
    control: join(root, 'admin.sock'),
    health: join(root, 'health.sock'),
    log: join(root, 'broker.log'),
  };
}

export function resolveBrokerConfig(config: BrokerConfig): ResolvedBrokerConfig {
  return {
    origins: [],
    retentionS: DEFAULT_RETENTION_S,
    maxOpenItems: MAX_OPEN_ITEMS,
    maxPageCount: 0,
    logLevel: 'info',
    ...config,
  };
}

/** Makes folder, identity key and configuration; refuses a folder that has one already. */
export function initBroker(folder: BrokerFolder, config: BrokerConfig): { readonly brokerId: string } {
  openPrivateFolder(folder.root);
  openPrivateFolder(join(folder.root, 'keys'));
  if (existsSync(folder.config)) {
    throw new FarfieldError(
      'E_CONFLICT',
      `there is a broker in ${folder.root} already; start it with \`farfield broker start\`, or name another folder with --state`,
    );
  }
  assertShape(BrokerConfig, config, 'E_BAD_REQUEST', 'the configuration');
  const { kid } = createKeyFile(folder.key);
  writeDurableSync(folder.config, `${JSON.stringify(config, undefined, 2)}\n`);
  return { brokerId: kid };
}

export function readBrokerConfig(folder: BrokerFolder): ResolvedBrokerConfig {
  if (!existsSync(folder.config)) {
    throw new FarfieldError(
      'E_NOT_FOUND',
      `there is no broker in ${folder.root}; make one with \`farfield broker init\``,
    );
  }
  const config = parseStrict(readFileSync(folder.config), 'E_BAD_REQUEST');
  return resolveBrokerConfig(assertShape(BrokerConfig, config, 'E_BAD_REQUEST', folder.config));
}
