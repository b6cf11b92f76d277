/**
 * How fast this machine is right now: figures that have nothing to do with Farfield, measured in the same run.
 *
 * A shared machine is sometimes half as fast as it was a minute ago; a figure of a bench means something only beside these.
 */
import { spawn } from 'node:child_process';
import { generateKeyPairSync, hash, sign, verify } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Figures, median } from './figures.ts';

const ROUND_MS = 200;

function perSecond(work: () => void): number {
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < ROUND_MS) {
    for (let k = 0; k < 10; k++) work();
    count += 10;
  }
  return (1000 * count) / (performance.now() - start);
}

function fsyncMs(): number {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-yardstick-'));
  const fd = openSync(join(folder, 'log'), 'w');
  const block = Buffer.alloc(4096);
  const times = Array.from({ length: 60 }, () => {
    const start = performance.now();
    writeSync(fd, block);
    fdatasyncSync(fd);
    return performance.now() - start;
  });
  closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
  return median(times);
}

/** One KiB there and back between two processes over a Unix socket, as one call after the other does nine times. */
async function echoMs(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-yardstick-'));
  const path = join(folder, 'echo.sock');
  const code = `require('net').createServer((s) => s.on('data', (d) => s.write(d))).listen(process.argv[1], () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', code, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child.stdout, 'data');
    const socket = connect(path);
    const block = Buffer.alloc(1024, 7);
    const times: number[] = [];
    for (let k = 0; k < 1500; k++) {
      const start = performance.now();
      socket.write(block);
      await once(socket, 'data');
      times.push(performance.now() - start);
    }
    socket.destroy();
    return median(times.slice(500));
  } finally {
    child.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function yardstick(): Promise<Figures> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const message = Buffer.alloc(256, 7);
  const signature = sign(null, message, privateKey);
  const block = Buffer.alloc(1024, 7);
  return {
    'machine: Ed25519 verify': { value: perSecond(() => verify(null, message, publicKey, signature)), unit: '/s' },
    'machine: SHA-256 of 1 KiB': { value: perSecond(() => hash('sha256', block, 'hex')), unit: '/s' },
    'machine: write + fdatasync': { value: fsyncMs(), unit: 'ms' },
    'machine: echo over a Unix socket': { value: await echoMs(), unit: 'ms' },
    'machine: load before': { value: loadavg()[0] ?? 0, unit: '' },
  };
}

/** CPU time of a process so far, in ms: user and system, all threads. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  // utime and stime, in ticks of 10 ms.
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
