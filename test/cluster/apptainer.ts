/**
 * `npm run test:cluster -- apptainer`, or by itself: pilots and real Apptainer containers.
 *
 * 1. Where `apptainer` works for this ordinary user, the checks run here. As root they run as an ordinary user on a host of
 *    their own (apptainer/enter.sh over a Debian root of apptainer/root.sh), which ends with them and changes nothing here.
 * 2. FARFIELD_CLUSTER names the folder for what is slow to make (the root, the image); it is made once and kept.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const repo = resolve(import.meta.dirname, '../..');
const kept = process.env.FARFIELD_CLUSTER ?? join(tmpdir(), 'farfield-cluster');
const work = join(kept, 'apptainer-work');
const archive = join(kept, 'images', 'onnx.oci.tar');
const here = join(import.meta.dirname, 'apptainer');

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, [...args], { cwd: repo, stdio: 'inherit' });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const works = (command: string, args: readonly string[]): boolean =>
  spawnSync(command, [...args], { stdio: 'ignore' }).status === 0;

mkdirSync(work, { recursive: true });
if (!existsSync(archive)) run(join(repo, 'containers/build.sh'), ['onnx', join(kept, 'images')]);
copyFileSync(archive, join(work, 'onnx.oci.tar'));
const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
const inHost = (program: string): void => {
  if (process.getuid?.() !== 0) {
    run(node[0] as string, [...node.slice(1), program, work]);
    return;
  }
  const root = join(kept, 'apptainer-root');
  run(join(here, 'root.sh'), [root]);
  const command = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', repo, ...node, program, '/work-area'];
  run(join(here, 'enter.sh'), [root, work, repo, ...command]);
};
if (process.getuid?.() !== 0 && !works('apptainer', ['--version'])) {
  process.stdout.write('1..0 # SKIP apptainer is not installed, and only root can make a host that has it\n');
} else {
  for (const name of ['checks.ts', 'registry.ts']) inHost(join(here, name));
}
