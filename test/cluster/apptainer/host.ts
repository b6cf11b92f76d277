/**
 * A host on which `apptainer` works for an ordinary user, and programs that run there.
 *
 * 1. Where that is so for this user, it is this machine. As root it is a host of its own (enter.sh over a Debian root of
 *    root.sh), which ends with the program and changes nothing here.
 * 2. FARFIELD_CLUSTER names the folder for what is slow to make (the root, the image); it is made once and kept.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { KEPT, REPO } from '../cluster.ts';
import { ARCHIVE, prepareImage } from '../endpoint.ts';

const work = join(KEPT, 'apptainer-work');

/** Why there is none here; undefined where there is. */
export function hostRefusal(): string | undefined {
  if (process.getuid?.() === 0 || spawnSync('apptainer', ['--version'], { stdio: 'ignore' }).status === 0)
    return undefined;
  return 'apptainer is not installed, and only root can make a host that has it';
}

/** Runs `PROGRAM FOLDER`; in FOLDER lies the image's archive, and what else is made there is kept. */
export function runOnHost(program: string, stdout: 'inherit' | 'pipe' = 'inherit'): SpawnSyncReturns<string> {
  mkdirSync(work, { recursive: true });
  prepareImage();
  copyFileSync(ARCHIVE, join(work, 'onnx.oci.tar'));
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const run = (command: string, args: readonly string[]): SpawnSyncReturns<string> => {
    const ran = spawnSync(command, [...args], { cwd: REPO, stdio: ['inherit', stdout, 'inherit'], encoding: 'utf8' });
    if (ran.error !== undefined) throw ran.error;
    return ran;
  };
  if (process.getuid?.() !== 0) return run(node[0] as string, [...node.slice(1), work]);
  const root = join(KEPT, 'apptainer-root');
  const made = run(join(import.meta.dirname, 'root.sh'), [root]);
  if (made.status !== 0) return made;
  const command = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', REPO, ...node, '/work-area'];
  return run(join(import.meta.dirname, 'enter.sh'), [root, work, REPO, ...command]);
}
