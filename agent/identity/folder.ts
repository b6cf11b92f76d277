/**
 * Where everything of one endpoint's agent lies: a folder that only its account can enter.
 *
 * The root key is never here: it names online keys, and a copy of this folder must not be worth more than a month.
 */
import { join, resolve, sep } from 'node:path';
import { openPrivateFolder } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';

export interface AgentFolder {
  readonly root: string;
  readonly keys: string;
  readonly onlineKey: string;
  readonly descriptor: string;
  /** Where the broker is and how to know it; absent before `join`. */
  readonly broker: string;
  readonly policy: string;
  readonly config: string;
  readonly ledger: string;
  /** Results that are too large to travel inline, until the broker has them. */
  readonly spool: string;
  /** Arguments by digest. */
  readonly blobs: string;
  /** Container images, unless the configuration names a folder that other nodes see too. */
  readonly images: string;
  readonly run: string;
  readonly control: string;
  readonly pilots: string;
  /** Certificate and port of the door for pilots on other hosts. */
  readonly pilotsDoor: string;
  /** One folder a block: its file, its pilots' logs. */
  readonly blocks: string;
  readonly log: string;
  /** Decisions, jobs and what admins did (agent/audit.ts). */
  readonly audit: string;
  readonly health: string;
  /** Why the last life ended by itself, if it did. */
  readonly lastEnd: string;
}

export function agentFolder(path: string): AgentFolder {
  const root = resolve(path);
  const at = (...parts: string[]): string => join(root, ...parts);
  return {
    root,
    keys: at('keys'),
    onlineKey: at('keys', 'online.pem'),
    descriptor: at('descriptor.jws'),
    broker: at('broker.json'),
    policy: at('policy.yaml'),
    config: at('config.yaml'),
    ledger: at('ledger.db'),
    spool: at('spool'),
    blobs: at('blobs'),
    images: at('images'),
    run: at('run'),
    control: at('run', 'control.sock'),
    pilots: at('run', 'pilots.sock'),
    pilotsDoor: at('keys', 'pilots-door.json'),
    blocks: at('blocks'),
    log: at('agent.log'),
    audit: at('audit.log'),
    health: at('run', 'health.sock'),
    lastEnd: at('last-end.json'),
  };
}

/** Makes what is missing, and refuses what others can enter. */
export function prepareFolder(folder: AgentFolder): void {
  for (const path of [folder.root, folder.keys, folder.spool, folder.blobs, folder.run, folder.blocks])
    openPrivateFolder(path);
}

/** Throws if root keys would lie in the agent's folder (or it in theirs). */
export function assertApart(rootsFolder: string, folder: AgentFolder): void {
  const roots = resolve(rootsFolder) + sep;
  const agent = folder.root + sep;
  if (!roots.startsWith(agent) && !agent.startsWith(roots)) return;
  throw new FarfieldError(
    'E_USAGE',
    `root keys in ${rootsFolder} would lie with the agent's state in ${folder.root}: whoever copies that folder would be the endpoint for ever. Name another --roots folder`,
  );
}
