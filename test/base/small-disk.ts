/** A disk that is soon full: a small tmpfs. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

function mount(folder: string, size: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', folder], { stdio: 'ignore' });
}

export interface SmallDisk extends Disposable {
  readonly folder: string;
}

export function openSmallDisk(size: string): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-small-'));
  mount(folder, size);
  return {
    folder,
    [Symbol.dispose]() {
      execFileSync('umount', [folder]);
      rmSync(folder, { recursive: true });
    },
  };
}

/** Why there is none here, as the name of a skip; false where one can be had. */
export function smallDiskMissing(): string | false {
  if (process.getuid?.() !== 0) return 'a small tmpfs needs root';
  try {
    openSmallDisk('64k')[Symbol.dispose]();
    return false;
  } catch {
    return 'no tmpfs can be mounted here';
  }
}
