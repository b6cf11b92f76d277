/**
 * `farfield endpoint logs`: what the agent, the pilots and the start-up of blocks wrote, in one stream by time.
 *
 * Agent and pilots write JSON lines; a job's start-up prints what it likes, and such a line has the time of the JSON line before
 * it in its file, or of the file's beginning. Functions' own output is not here: it is their owner's (`farfield logs ID`).
 */
import { createReadStream, existsSync, readdirSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Command, InvalidArgumentError } from 'commander';
import { type CliContext, usage, writeJson, writeLine } from '#base/cli.ts';
import { withoutSecrets } from '#base/log.ts';
import { plainLine } from '#base/plain.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { chooseFolder, type FolderOptions, parseUntil } from './common.ts';
import { parseSpan } from './render.ts';
import { isJson, withFolder } from './show.ts';

export interface LogLine {
  /** `agent`, or `block ID`. */
  readonly source: string;
  readonly atMs: number;
  readonly level: string;
  readonly text: string;
  /** The line's own fields, where it has any. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

interface LogOptions extends FolderOptions {
  readonly follow?: boolean;
  readonly since?: string;
  readonly block?: string;
  readonly level?: string;
  readonly lines: number;
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];
const LOOK_MS = 300;
const MAX_LINE = 8192;
const HIDDEN = new Set(['level', 'time', 'msg', 'name', 'pid', 'stack']);

function parseLines(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('write a whole number');
  return Number(text);
}

export function registerLogs(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint.command('logs').description('what the agent, its pilots and the start-up of blocks wrote, by time'),
  )
    .option('--follow', 'go on with what is written from now on')
    .option('--since <time>', 'a span back (15m, 2h, 3d), a date, or a time with its zone')
    .option('--block <id>', "one block's output alone; the beginning of its id will do")
    .option('--level <level>', `not below: ${LEVELS.join(', ')}`)
    .option('--lines <n>', 'the last so many', parseLines, 200)
    .action(async (options: LogOptions, command: Command) => {
      const folder = chooseFolder(context, options);
      const lowest = options.level === undefined ? 0 : LEVELS.indexOf(options.level);
      if (lowest < 0) throw usage(`--level is one of ${LEVELS.join(', ')}`);
      const json = isJson(command);
      const sinceMs = options.since === undefined ? 0 : sinceOf(options.since, context.clock.now());
      const files = logFiles(folder, options.block);
      if (files.size === 0 && options.follow !== true)
        throw usage(
          options.block === undefined
            ? `${folder.log} is not there: an agent under systemd writes to its journal (journalctl --user -u farfield-agent)`
            : `there is no output of a block ${plainLine(options.block)} in ${folder.blocks}`,
        );
      const takes = (line: LogLine): boolean => line.atMs >= sinceMs && LEVELS.indexOf(line.level) >= lowest;
      const tell = (line: LogLine): void => {
        if (json) writeJson(context.stdout, line);
        else writeLine(context.stdout, formatLine(line));
      };
      const all: LogLine[] = [];
      for (const [source, path] of files) all.push(...(await readLog(path, source)).filter(takes));
      all.sort((a, b) => a.atMs - b.atMs);
      for (const line of all.slice(-options.lines)) tell(line);
      if (options.follow === true)
        await follow(context, folder, options.block, files, (line) => takes(line) && tell(line));
    });
}

function sinceOf(text: string, nowMs: number): number {
  if (/^\d+(s|m|h|d)$/.test(text)) return nowMs - parseSpan(text) * 1000;
  return parseUntil(text, nowMs) * 1000;
}

/** Source -> file. */
export function logFiles(folder: AgentFolder, block?: string): Map<string, string> {
  const files = new Map<string, string>();
  if (block === undefined && existsSync(folder.log)) files.set('agent', folder.log);
  if (!existsSync(folder.blocks)) return files;
  for (const name of readdirSync(folder.blocks)) {
    const path = join(folder.blocks, name, 'pilot.log');
    if ((block === undefined || name.startsWith(block)) && existsSync(path)) files.set(`block ${name}`, path);
  }
  return files;
}

/** One line of a log; `before` is the time of the line above it. */
export function parseLog(text: string, source: string, before: number): LogLine {
  const cut = text.slice(0, MAX_LINE);
  try {
    const fields = JSON.parse(text) as Record<string, unknown>;
    const { level, time, msg } = fields;
    const at = Date.parse(String(time));
    if (typeof msg === 'string' && typeof level === 'string')
      return {
        source,
        atMs: Number.isNaN(at) ? before : at,
        level,
        text: withoutSecrets(msg),
        fields: cleaned(fields),
      };
  } catch {
    // Not ours: what a start-up printed.
  }
  return { source, atMs: before, level: 'info', text: withoutSecrets(cut) };
}

function cleaned(fields: Record<string, unknown>): Record<string, unknown> {
  return JSON.parse(withoutSecrets(JSON.stringify(fields))) as Record<string, unknown>;
}

export async function readLog(path: string, source: string): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  let before = statSync(path).birthtimeMs || statSync(path).mtimeMs;
  const reader = createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY });
  for await (const text of reader) {
    if (text.trim() === '') continue;
    const line = parseLog(text, source, before);
    before = line.atMs;
    lines.push(line);
  }
  return lines;
}

export function formatLine({ source, atMs, level, text, fields = {} }: LogLine): string {
  const more = Object.entries(fields)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => `${key}=${typeof value === 'object' ? messageOf(value) : String(value)}`);
  const at = new Date(atMs).toISOString();
  return plainLine(`${at} ${level.toUpperCase().padEnd(5)} ${source}: ${[text, ...more].join(' ')}`, MAX_LINE);
}

function messageOf(value: unknown): string {
  const { message } = (value ?? {}) as { message?: unknown };
  return typeof message === 'string' ? JSON.stringify(message) : JSON.stringify(value);
}

/** Files are looked at, not watched: on a shared file system nobody tells of another host's writes. */
async function follow(
  context: CliContext,
  folder: AgentFolder,
  block: string | undefined,
  known: ReadonlyMap<string, string>,
  tell: (line: LogLine) => void,
): Promise<void> {
  const at = new Map([...known.values()].map((path) => [path, statSync(path, { throwIfNoEntry: false })?.size ?? 0]));
  const rest = new Map<string, string>();
  while (!context.signal.aborted) {
    for (const [source, path] of logFiles(folder, block)) {
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      let from = at.get(path) ?? 0;
      // Cut or replaced: from its beginning again.
      if (size < from) from = 0;
      if (size === from) continue;
      const bytes = await readPart(path, from, size - from);
      at.set(path, from + bytes.length);
      const parts = ((rest.get(path) ?? '') + bytes.toString()).split('\n');
      rest.set(path, parts.pop() ?? '');
      for (const text of parts) if (text.trim() !== '') tell(parseLog(text, source, context.clock.now()));
    }
    await context.clock.sleep(LOOK_MS, context.signal).catch(() => undefined);
  }
}

async function readPart(path: string, from: number, length: number): Promise<Buffer> {
  await using file = await open(path);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, from);
  return buffer.subarray(0, bytesRead);
}
