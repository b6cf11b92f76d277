/**
 * What time does to rows: tickets that may start no longer expire, and what is past its retention is forgotten. This, and the
 * heartbeats, are all that the broker does on a timer.
 *
 * Invariant: a jump of the clock by more than an hour forward pauses forgetting for an hour by the monotonic clock: nothing
 * brings back what a wrong clock has purged.
 */
import type { Clock, Timer } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { BlobFiles } from './blobs/files.ts';
import type { Commit } from './committed.ts';
import type { Directory } from './directory.ts';
import { ALARM_RETENTION_S, PARTIAL_BLOB_S, SWEEP_MS, SWEEP_ROWS } from './limits.ts';
import type { BrokerStore } from './store/store.ts';

export interface SweeperOptions {
  readonly store: BrokerStore;
  readonly commit: Commit;
  readonly directory: Directory;
  readonly blobs: BlobFiles;
  readonly clock: Clock;
  readonly log: Logger;
  readonly retentionS: number;
}

export interface Sweeper extends AsyncDisposable {
  /** One round now; for tests and for the operator. */
  sweep(): Promise<void>;
}

const JUMP_MS = 3600_000;

export function startSweeper(options: SweeperOptions): Sweeper {
  const { clock, log } = options;
  let timer: Timer | undefined;
  let over = false;
  let running: Promise<void> = Promise.resolve();
  let seen = { wall: clock.now(), mono: clock.mono() };
  let pausedUntil = 0;

  function purgeAllowed(): boolean {
    const wall = clock.now();
    const mono = clock.mono();
    if (wall - seen.wall - (mono - seen.mono) > JUMP_MS) {
      pausedUntil = mono + JUMP_MS;
      log.error(
        { jumpedMs: wall - seen.wall - (mono - seen.mono) },
        'ALARM: the clock jumped forward; nothing is purged for an hour',
      );
    }
    seen = { wall, mono };
    return mono >= pausedUntil;
  }

  async function round(): Promise<void> {
    await expire(options);
    if (purgeAllowed()) await purge(options);
  }

  function sweep(): Promise<void> {
    running = running.then(round).catch((reason: unknown) => {
      // A full disk or a busy store: the next round does the same work.
      log.warn({ err: FarfieldError.from(reason) }, 'sweep failed');
    });
    return running;
  }

  function plan(): void {
    timer = clock.after(SWEEP_MS, () => {
      void sweep().then(() => {
        if (!over) plan();
      });
    });
  }
  plan();

  return {
    sweep,
    async [Symbol.asyncDispose]() {
      over = true;
      timer?.cancel();
      await running;
    },
  };
}

async function expire({ commit, directory, clock, log }: SweeperOptions): Promise<void> {
  for (;;) {
    const { tickets } = await commit('expire', { nowS: clock.now() / 1000, limit: SWEEP_ROWS });
    for (const { ticketNo, endpoint } of tickets) directory.endpoint(endpoint)?.session?.pump.drop(ticketNo, 'all');
    if (tickets.length > 0) log.info({ tickets: tickets.length }, 'tickets expired before their endpoint took them');
    if (tickets.length < SWEEP_ROWS) return;
  }
}

async function purge({ commit, store, blobs, clock, log, retentionS }: SweeperOptions): Promise<void> {
  for (;;) {
    const nowS = clock.now() / 1000;
    const purged = await commit('purge', { nowS, retentionS, alarmRetentionS: ALARM_RETENTION_S, limit: SWEEP_ROWS });
    // The rows first: a file without a row is a little room, a row without its file would be a broken promise.
    for (const digest of purged.blobs) await blobs.remove(digest, () => store.read('blobKept', { digest }));
    if (purged.tickets > 0 || purged.blobs.length > 0)
      log.info({ tickets: purged.tickets, blobs: purged.blobs.length }, 'purged');
    if (!purged.more) break;
  }
  await blobs.sweep(clock.now() - PARTIAL_BLOB_S * 1000);
}
