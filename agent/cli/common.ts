/** What the endpoint's verbs share: which folder is meant, and asking the running agent. */
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type CliContext, usage } from '#base/cli.ts';
import { callControl } from '#base/control.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AgentStatus } from '../control.ts';
import { type AgentFolder, agentFolder } from '../identity/folder.ts';

export interface FolderOptions {
  readonly state?: string;
  readonly name?: string;
}

/** Where endpoints of this user lie unless --state says otherwise. */
export function endpointsFolder(context: CliContext): string {
  return join(context.home, 'endpoints');
}

export function rootsFolder(context: CliContext, given: string | undefined): string {
  return given === undefined ? join(context.home, 'roots') : resolve(context.cwd, given);
}

/** `--state DIR`, `--name NAME`, or the only endpoint that there is. */
export function chooseFolder(context: CliContext, options: FolderOptions): AgentFolder {
  if (options.state !== undefined) return agentFolder(resolve(context.cwd, options.state));
  const all = endpointsFolder(context);
  if (options.name !== undefined) return agentFolder(join(all, fileName(options.name)));
  const names = existsSync(all) ? readdirSync(all).filter((name) => existsSync(join(all, name, 'descriptor.jws'))) : [];
  const [only] = names;
  if (only !== undefined && names.length === 1) return agentFolder(join(all, only));
  if (only === undefined) {
    throw new FarfieldError(
      'E_NOT_FOUND',
      `there is no endpoint in ${all}; make one with \`farfield endpoint init --name NAME\`, or name its folder with --state`,
    );
  }
  throw usage(`there are several endpoints (${names.join(', ')}); say which with --name or --state`);
}

/** A name as it may be a folder's. */
export function fileName(name: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw usage(`"${name}" is no name for a folder: letters, digits, dots and dashes, at most 64; or use --state`);
  return name;
}

/** Undefined where no agent runs. */
export async function askStatus(folder: AgentFolder, signal?: AbortSignal): Promise<AgentStatus | undefined> {
  return askRunning(folder, 'status', {}, signal) as Promise<AgentStatus | undefined>;
}

/** The running agent's answer; undefined where none runs. */
export async function askRunning(
  folder: AgentFolder,
  verb: string,
  body: object = {},
  signal?: AbortSignal,
): Promise<unknown> {
  try {
    return await callControl(folder.control, verb, body, signal);
  } catch (reason) {
    if (reason instanceof FarfieldError && reason.code === 'E_UNAVAILABLE') return undefined;
    throw reason;
  }
}

/** Seconds since 1970 of a date, a time with a zone, or a duration from now such as 90s, 15m, 12h, 30d. */
export function parseUntil(text: string, nowMs: number): number {
  const duration = /^(\d{1,6})(s|m|h|d)$/.exec(text);
  if (duration !== null) {
    const unit = { s: 1, m: 60, h: 3600, d: 86_400 }[duration[2] as 's' | 'm' | 'h' | 'd'];
    return Math.floor(nowMs / 1000) + Number(duration[1]) * unit;
  }
  const isTime = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$/.test(text);
  const ms = isTime ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms))
    throw usage(`"${text}" is no time: write a date (2027-01-01), a time with its zone, or a duration (12h, 30d)`);
  return Math.floor(ms / 1000);
}
