/**
 * One runner a shard. SQLite holds a real fcntl lock, which its process's death releases and which NFS and Lustre pass on; Node has
 * none of its own.
 *
 * Nothing depends on it but work done twice: each runner writes under a name of its own, the same rows give the same bytes, and
 * the last rename wins. So a file system without locks is told and not refused.
 */
import { rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { FarfieldError } from '#kernel/errors.ts';

export interface ShardLock extends Disposable {
  /** Whether the file system has locks. */
  readonly held: boolean;
}

/** Takes `path`, or throws E_BUSY where another process has it. */
export function lockShard(path: string, shard: string): ShardLock {
  const db = openLock(path);
  if (db === undefined) return { held: false, [Symbol.dispose]: () => {} };
  try {
    db.exec('pragma journal_mode = memory; begin exclusive');
  } catch (reason) {
    db.close();
    if (/locked|busy/i.test(reason instanceof Error ? reason.message : ''))
      throw new FarfieldError('E_BUSY', `another runner works on ${shard}; this one has nothing to do here`);
    return { held: false, [Symbol.dispose]: () => {} };
  }
  return {
    held: true,
    [Symbol.dispose]: () => {
      // Gone before it is let go: whoever waits for this very file finds the shard done, or makes a new one.
      rmSync(path, { force: true });
      db.close();
    },
  };
}

function openLock(path: string): DatabaseSync | undefined {
  try {
    return new DatabaseSync(path, { timeout: 0 });
  } catch {
    return undefined;
  }
}
