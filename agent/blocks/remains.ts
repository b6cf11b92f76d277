/** What a block that failed leaves: its last words, and its folder for whoever looks for the reason. */
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { plain } from '#base/log.ts';

const TAIL_BYTES = 4096;
/** Script, block file and output of so many blocks that never began are kept. */
const KEPT = 20;

/** The last of what the site's own start-up printed; never a task's output, which does not go there. */
export function logTail(file: string): string {
  try {
    return plain(readFileSync(file).subarray(-TAIL_BYTES).toString()).trim();
  } catch {
    return '';
  }
}

export function sweepFolders(folder: string, isLive: (block: string) => boolean): void {
  const dead = readdirSync(folder)
    .filter((name) => !isLive(name))
    .map((name) => ({
      path: join(folder, name),
      at: statSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    }))
    .sort((a, b) => b.at - a.at);
  for (const { path } of dead.slice(KEPT)) rmSync(path, { recursive: true, force: true });
}
