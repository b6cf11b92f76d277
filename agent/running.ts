/** Which Farfield runs an endpoint, and whether it was stopped on purpose: two notes in its `run` folder. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Build, parseBuild } from '#base/build.ts';
import { errno } from '#base/files.ts';
import type { AgentFolder } from './identity/folder.ts';

const buildFile = (folder: AgentFolder): string => join(folder.run, 'build.json');
const stoppedFile = (folder: AgentFolder): string => join(folder.run, 'stopped');

/** By the agent at its start. */
export function noteBuild(folder: AgentFolder, build: Build): void {
  writeFileSync(buildFile(folder), `${JSON.stringify(build)}\n`, { mode: 0o600 });
}

/** Of the agent that runs, or ran last; undefined where none of this version or a later one ever did. */
export function readNotedBuild(folder: AgentFolder): Build | undefined {
  try {
    return parseBuild(readFileSync(buildFile(folder), 'utf8'));
  } catch (reason) {
    if (errno(reason) === 'ENOENT' || reason instanceof SyntaxError) return undefined;
    throw reason;
  }
}

/** `endpoint stop` means it: what a timer would start again stays down until somebody starts it by hand. */
export function noteStopped(folder: AgentFolder): void {
  if (existsSync(folder.run)) writeFileSync(stoppedFile(folder), '', { mode: 0o600 });
}

export function forgetStopped(folder: AgentFolder): void {
  rmSync(stoppedFile(folder), { force: true });
}

export function wasStopped(folder: AgentFolder): boolean {
  return existsSync(stoppedFile(folder));
}
