/**
 * The file that an agent writes for the pilots of one block (0600, in a folder that only the account can enter). It holds
 * the block token, so it is never argv, environment or a scheduler's script.
 *
 * Checked by hand and not by a schema library: a pilot starts on every node, and TypeBox would be half of its start.
 */
import { FarfieldError } from '#kernel/errors.ts';

export interface BlockFile {
  readonly v: 1;
  /** The block's id: the subject of the pilot's hello. */
  readonly block: string;
  /** Endpoint id that the agent's challenge must name. */
  readonly agent: string;
  /** The agent's socket for pilots. */
  readonly socket: string;
  /** Where else the agent listens: for pilots on other hosts. Rewritten by an agent that moved; read again at each dial. */
  readonly tls?: { readonly addresses: readonly string[]; readonly pin: string };
  /** farfield-block+jwt, redeemed once by each node of the block. */
  readonly token: string;
  /** Concurrent places on this node. */
  readonly slots: number;
  /** A pilot that had no agent for this long ends itself and its runners. */
  readonly graceS: number;
  /** How the process runtime starts a runner; `pipe` is appended. */
  readonly runner: { readonly command: string; readonly args: readonly string[] };
  /** The whole environment of runners: what the site needs there (PATH, a scratch folder, library paths), nothing else. */
  readonly env: Readonly<Record<string, string>>;
  /** How containers are started; undefined where this endpoint has none. */
  readonly containers?: ContainerSetting;
}

export interface ContainerSetting {
  /** Folder of the image cache (base/image-cache.ts), seen by every node. */
  readonly images: string;
  readonly apptainer: string;
  readonly podman: string;
  /** Whose driver is bound for functions that ask for accelerators. */
  readonly gpu: 'nvidia' | 'amd' | 'none';
}

export const BLOCK_FILE = 'block.json';
/** A job that survives its agent's restart, upgrade or short absence. */
export const DEFAULT_GRACE_S = 600;

const KEYS = [
  'v',
  'block',
  'agent',
  'socket',
  'tls',
  'token',
  'slots',
  'graceS',
  'runner',
  'env',
  'containers',
] as const;

function refuse(what: string): never {
  throw new FarfieldError(
    'E_BAD_REQUEST',
    `the block file is not one of this version: ${what}; agent and pilot ship together`,
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const isTexts = (values: unknown): boolean =>
  Array.isArray(values) && values.every((value) => typeof value === 'string');
const isCount = (value: unknown, min: number, max: number): boolean =>
  typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;

/** Addresses are parsed where they are dialled: one that is wrong is one that does not answer. */
function isTls(value: unknown): boolean {
  if (!isObject(value) || Object.keys(value).length !== 2) return false;
  return isTexts(value.addresses) && typeof value.pin === 'string' && /^[0-9a-f]{64}$/.test(value.pin);
}

function isContainers(value: unknown): boolean {
  if (!isObject(value) || Object.keys(value).length !== 4) return false;
  const texts = [value.images, value.apptainer, value.podman].every((text) => typeof text === 'string' && text !== '');
  return texts && ['nvidia', 'amd', 'none'].includes(value.gpu as string);
}

export function parseBlockFile(text: string): BlockFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse('it is no JSON');
  }
  if (!isObject(value)) refuse('it is no object');
  const unknown = Object.keys(value).find((key) => !(KEYS as readonly string[]).includes(key));
  if (unknown !== undefined) refuse(`unknown key ${JSON.stringify(unknown)}`);
  if (value.v !== 1) refuse(`version ${JSON.stringify(value.v)}`);
  for (const key of ['block', 'agent', 'socket', 'token'] as const) {
    if (typeof value[key] !== 'string' || value[key] === '') refuse(`${key} must be text`);
  }
  if (!isCount(value.slots, 1, 4096)) refuse('slots must be 1 to 4,096');
  if (!isCount(value.graceS, 0, 366 * 86_400)) refuse('graceS must be whole seconds');
  const { runner, env } = value;
  if (!isObject(runner) || typeof runner.command !== 'string' || !isTexts(runner.args))
    refuse('runner must be {command, args}');
  if (!isObject(env) || !isTexts(Object.values(env))) refuse('env must be an object of texts');
  if (value.tls !== undefined && !isTls(value.tls)) refuse('tls must be {addresses, pin}');
  if (value.containers !== undefined && !isContainers(value.containers))
    refuse('containers must be {images, apptainer, podman, gpu}');
  return value as unknown as BlockFile;
}
