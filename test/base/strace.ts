/** System calls of a child, by strace: the order of fsync and acknowledgement, and disks that fail on command. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Syscall {
  readonly name: string;
  /** The file behind the first descriptor, or the first path. */
  readonly file: string;
  readonly line: string;
  readonly failed: boolean;
}

/** Why there is no strace here, as the name of a skip; false where there is one. */
export function straceMissing(): string | false {
  const probe = spawnSync('strace', ['-f', '-e', 'trace=write', 'true'], { encoding: 'utf8' });
  if (probe.error !== undefined) return 'strace is not installed';
  return probe.status === 0 ? false : 'strace may not trace here';
}

/** Calls split by a switch of threads are joined: the result stands in the resumed half, the arguments in the first. */
function joined(lines: readonly string[]): string[] {
  const open = new Map<string, string>();
  const out: string[] = [];
  for (const line of lines) {
    const [, pid = '', rest = ''] = /^(?:\[pid +)?(\d+)\]? +(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (rest.endsWith('<unfinished ...>')) open.set(pid, rest.slice(0, -'<unfinished ...>'.length));
    else if (resumed !== null) out.push(`${open.get(pid) ?? ''}${resumed[1]}`);
    else if (rest !== '') out.push(rest);
  }
  return out;
}

export function parseSyscalls(text: string): Syscall[] {
  return joined(text.split('\n')).flatMap((line) => {
    const call = /^(\w+)\((?:\d+<([^>]*)>|(?:AT_FDCWD[^,]*, )?"([^"]*)")?/.exec(line);
    if (call === null) return [];
    return [{ name: call[1] ?? '', file: call[2] ?? call[3] ?? '', line, failed: / = -1 /.test(line) }];
  });
}

export interface Traced {
  readonly calls: readonly Syscall[];
  readonly stdout: string;
}

/**
 * Runs a script under strace. `inject` as strace's own option, for example `fsync:error=EIO:when=20+`; `only` limits
 * tracing and injection to calls on one path.
 */
export async function trace(script: string, args: readonly string[], inject?: string, only?: string): Promise<Traced> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-strace-'));
  const log = join(folder, 'log');
  const calls = 'trace=fsync,fdatasync,write,pwrite64,rename,renameat,renameat2';
  const argv = [
    '-f',
    '-y',
    '-s',
    '40',
    '-o',
    log,
    '-e',
    calls,
    ...(only === undefined ? [] : ['-P', only]),
    ...(inject === undefined ? [] : ['-e', `inject=${inject}`]),
  ];
  try {
    const stdout = await new Promise<string>((resolve, reject) => {
      execFile('strace', [...argv, process.execPath, script, ...args], { maxBuffer: 2 ** 26 }, (error, out, err) =>
        error === null ? resolve(out) : reject(new Error(`${error.message}\n${err}`)),
      );
    });
    return { calls: parseSyscalls(readFileSync(log, 'utf8')), stdout };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
