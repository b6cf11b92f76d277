/** The processes of a world, found in /proc by its folder: the pilot has its block's folder as argument, runners are below it. */
import { readdirSync, readFileSync } from 'node:fs';

interface Proc {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
}

function all(): Proc[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const parent = Number(readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1]);
      return [
        { pid: Number(name), parent, command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') },
      ];
    } catch {
      return [];
    }
  });
}

export function pilotsOf(folder: string): number[] {
  return all()
    .filter(({ command }) => command.includes('pilot.mjs') || command.includes('pilot/main.ts'))
    .filter(({ command }) => command.includes(`${folder}/`))
    .map(({ pid }) => pid);
}

export function runnersOf(folder: string): number[] {
  const procs = all();
  const below = new Set(pilotsOf(folder));
  for (let grown = true; grown; ) {
    const more = procs.filter(({ pid, parent }) => below.has(parent) && !below.has(pid));
    for (const { pid } of more) below.add(pid);
    grown = more.length > 0;
  }
  return procs
    .filter(
      ({ pid, command }) =>
        below.has(pid) &&
        /runner(\.mjs|\/main\.ts) pipe/.test(command) &&
        !command.startsWith('unshare') &&
        !command.startsWith('/bin/sh'),
    )
    .map(({ pid }) => pid);
}

function statusMb(pid: number, key: string): number {
  const match = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? Number.NaN) / 1024;
}

/** Resident memory now, in MiB. */
export const rssMb = (pid: number): number => statusMb(pid, 'VmRSS');
/** The most it ever was. */
export const peakRssMb = (pid: number): number => statusMb(pid, 'VmHWM');
