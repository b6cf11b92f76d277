/** How the endpoint's verbs name their endpoint and print what they found. */
import type { Command } from 'commander';
import { type CliContext, writeJson, writeLine } from '#base/cli.ts';

/** Every verb may name its endpoint. */
export function withFolder(command: Command): Command {
  return command
    .option('--state <folder>', "the endpoint's folder")
    .option('--name <name>', 'its name, where it lies in the usual place');
}

export const isJson = (command: Command): boolean => command.optsWithGlobals().json === true;
export const nowS = (context: CliContext): number => Math.floor(context.clock.now() / 1000);
export const dateOf = (seconds: number): string => new Date(seconds * 1000).toISOString();

/** The value with --json, the lines otherwise. */
export function show(context: CliContext, command: Command, value: object, lines: readonly string[]): void {
  if (isJson(command)) writeJson(context.stdout, value);
  else for (const line of lines) writeLine(context.stdout, line);
}

const KiB = 1024;

/** A size for people: two digits are enough to decide by. */
export function sizeOf(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let size = bytes;
  let k = 0;
  while (size >= KiB && k < units.length - 1) {
    size /= KiB;
    k += 1;
  }
  return `${size >= 10 || k === 0 ? Math.round(size) : size.toFixed(1)} ${units[k]}`;
}

/** A span for people. */
export function spanOf(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}
