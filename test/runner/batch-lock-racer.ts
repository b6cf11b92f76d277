/** One of several processes that fight for a lock: `FOLDER SEED`. Prints how often it held it, and with how many others at once. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createManualClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { lockShard } from '../../runner/batch/lock.ts';

const ROUNDS = 300;
const [folder = '', seed = ''] = process.argv.slice(2);
const random = createSeededRandom(seed);
const path = join(folder, 'rows.lock');
const inside = join(folder, 'inside');
const counts = { held: 0, clashes: 0 };
// A clock that stands: beats are not what this is about.
const clock = createManualClock();

for (let round = 0; round < ROUNDS; round++) {
  const nonce = Buffer.from(random.bytes(8)).toString('hex');
  try {
    const lock = lockShard(path, 'rows', { host: 'here', pid: process.pid, nonce, clock });
    counts.held++;
    try {
      writeFileSync(inside, seed, { flag: 'wx' });
      rmSync(inside);
    } catch {
      counts.clashes++;
    }
    if (random.uniform() < 0.3) abandon(nonce);
    lock[Symbol.dispose]();
  } catch (reason) {
    if (!(reason instanceof FarfieldError) || reason.code !== 'E_BUSY') throw reason;
  }
}
process.stdout.write(JSON.stringify(counts));

/** The lock as a runner leaves it that is killed: still there, and of a process that is not. */
function abandon(nonce: string): void {
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    if (!name.startsWith('rows.lock') || name.includes('.claim-')) continue;
    let owner: { nonce: string };
    try {
      owner = JSON.parse(readFileSync(file, 'utf8'));
    } catch {
      continue;
    }
    if (owner.nonce === nonce)
      writeFileSync(file, JSON.stringify({ ...owner, nonce: `${nonce.slice(0, 15)}f`, startTicks: 1 }));
  }
}
