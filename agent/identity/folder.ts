/**
 * Where everything of one endpoint's agent lies: a folder that only its account can enter.
 *
 * The root key is never here: it names online keys, and a copy of this folder must not be worth more than a month.
 *
 * The ledger wants a disk of the agent's host (state-folder.ts), and nodes must see what they read and write: blocks, arguments,
 * results, images. Where these are two places, `shared.path` in the folder names the second one.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isAbsolute, join, resolve, sep } from 'node:path';
import { errno, openPrivateFolder } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';

export interface AgentFolder {
  readonly root: string;
  /** What every node sees, where that is not `root`. */
  readonly shared: string | undefined;
  readonly keys: string;
  readonly onlineKey: string;
  readonly descriptor: string;
  /** Where the broker is and how to know it; absent before `join`. */
  readonly broker: string;
  readonly policy: string;
  readonly config: string;
  /** Requests for access that came in. */
  readonly access: string;
  /** Held by the verb that changes grants. */
  readonly grantsLock: string;
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
  const shared = sharedPlace(root);
  const wide = (name: string): string => join(shared ?? root, name);
  return {
    root,
    shared,
    keys: at('keys'),
    onlineKey: at('keys', 'online.pem'),
    descriptor: at('descriptor.jws'),
    broker: at('broker.json'),
    policy: at('policy.yaml'),
    config: at('config.yaml'),
    access: at('access.json'),
    grantsLock: at('run', 'grants'),
    ledger: at('ledger.db'),
    spool: wide('spool'),
    blobs: wide('blobs'),
    images: wide('images'),
    run: at('run'),
    control: at('run', 'control.sock'),
    pilots: at('run', 'pilots.sock'),
    pilotsDoor: at('keys', 'pilots-door.json'),
    blocks: wide('blocks'),
    log: at('agent.log'),
    audit: at('audit.log'),
    health: at('run', 'health.sock'),
    lastEnd: at('last-end.json'),
  };
}

const SHARED = 'shared.path';

function sharedPlace(root: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(join(root, SHARED), 'utf8').trim();
  } catch (reason) {
    // A folder that is not there yet, or that is none: whoever opens it says so.
    if (errno(reason) === 'ENOENT' || errno(reason) === 'ENOTDIR') return undefined;
    throw reason;
  }
  if (!isAbsolute(text))
    throw new FarfieldError(
      'E_USAGE',
      `${join(root, SHARED)} holds no absolute path: one line, the folder that every node sees`,
    );
  return text;
}

/** Names, for a new endpoint, the folder that nodes see. Nothing is moved: one that has run has files in the old place. */
export function shareFolder(path: string, shared: string): void {
  const { root, descriptor, shared: before } = agentFolder(path);
  if (before === shared) return;
  if (existsSync(descriptor)) {
    throw new FarfieldError(
      'E_CONFLICT',
      `there is an endpoint in ${root} already: stop it, move blocks, blobs, spool and images from ${before ?? root} to ${shared}, and write that path into ${join(root, SHARED)}`,
    );
  }
  openPrivateFolder(shared);
  openPrivateFolder(root);
  writeFileSync(join(root, SHARED), `${shared}\n`, { mode: 0o600 });
}

/** Makes what is missing, and refuses what others can enter. */
export function prepareFolder(folder: AgentFolder): void {
  const own = folder.shared === undefined ? [folder.root] : [folder.root, folder.shared];
  for (const path of [...own, folder.keys, folder.spool, folder.blobs, folder.run, folder.blocks])
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
