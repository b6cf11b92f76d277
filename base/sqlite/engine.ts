/**
 * The group commit itself: one database, one module, lists of commands in, outcomes out. It knows no threads,
 * so that the worker and the in-process form of a store run the very same code.
 *
 * Invariants
 *  G1 An outcome is returned only after the COMMIT that contains its command has returned (with
 *     synchronous=FULL: after its fsync).
 *  G2 Commands take effect in the order given; a command that throws leaves nothing behind and does not change
 *     its neighbours.
 *  G3 After an I/O error at commit nobody knows what is on disk (a failed fsync may drop the pages): the engine
 *     refuses everything from then on, and the owner must open the file again, which recovers from the log.
 *
 * A group runs without savepoints, which cost 6 us for each command; only a group in which a command failed is
 * rolled back and run again with one savepoint each. If that cannot be committed either (the disk is full),
 * each command gets a transaction of its own.
 */
import { chmodSync, closeSync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import type { CommandModule, Migration } from './module.ts';

/** An error as plain data, for a thread boundary. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly stack?: string | undefined;
  readonly retryAfterS?: number | undefined;
  readonly details?: Readonly<Record<string, string | number | boolean>>;
}

export type Outcome<R> = { readonly ok: true; readonly value: R } | { readonly ok: false; readonly failure: Failure };

export interface EngineOptions {
  readonly file: string;
  readonly userVersion: number;
  /** Pages of 4 KiB that the file may have; 0 is no bound but the disk's. */
  readonly maxPageCount: number;
  readonly synchronous: 'full' | 'off';
}

export interface Engine<C, R> {
  run(commands: readonly C[]): Outcome<R>[];
  /** Transactions committed so far. */
  commits(): number;
  /** Groups that had to run a second time. */
  reruns(): number;
  /** Pages in the write-ahead log, and how many of them are not yet in the main file. */
  wal(): { readonly pages: number; readonly behind: number };
  /** Moves what it can from the log into the main file, without waiting for readers. */
  checkpoint(): void;
  readonly db: DatabaseSync;
  close(): void;
}

// Primary result codes of SQLite, the low byte of `errcode`.
const SQLITE_BUSY = 5;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

function primaryCode(reason: unknown): number | undefined {
  if (!(reason instanceof Error) || !('errcode' in reason) || typeof reason.errcode !== 'number') return undefined;
  return reason.errcode & 0xff;
}

/** True where nobody knows any more what is on disk (G3). */
export function isFatal(reason: unknown): boolean {
  const code = primaryCode(reason);
  return code === SQLITE_IOERR || code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

/** Any thrown value as plain data, with SQLite's own failures under our codes. */
export function failureOf(reason: unknown): Failure {
  const code = primaryCode(reason);
  const text = reason instanceof Error ? reason.message : String(reason);
  const stack = reason instanceof Error ? reason.stack : undefined;
  if (code === SQLITE_FULL) {
    return {
      code: 'E_DISK_FULL',
      message: 'the store cannot grow: its disk, or its page limit, is full. Free room, then try again',
    };
  }
  if (code === SQLITE_BUSY) {
    return {
      code: 'E_UNAVAILABLE',
      message: 'the store is locked by another process. End that process, then try again',
    };
  }
  if (isFatal(reason)) {
    return {
      code: 'E_UNAVAILABLE',
      message: `the store's disk failed (${text}). Check the disk, then start this process again`,
      stack,
    };
  }
  if (!(reason instanceof FarfieldError)) return { code: 'E_INTERNAL', message: text, stack };
  return {
    code: reason.code,
    message: reason.message,
    stack,
    retryAfterS: reason.retryAfterS,
    details: reason.details,
  };
}

/** The inverse, on the other side of the boundary. */
export function errorOf(failure: Failure): FarfieldError {
  const error = new FarfieldError(failure.code, failure.message, {
    ...(failure.retryAfterS === undefined ? {} : { retryAfterS: failure.retryAfterS }),
    ...(failure.details === undefined ? {} : { details: failure.details }),
  });
  if (failure.stack !== undefined) error.stack = failure.stack;
  return error;
}

function storedVersion(db: DatabaseSync): number {
  return Number(db.prepare('pragma user_version').get()?.user_version ?? 0);
}

/** Each step in a transaction of its own, together with the number that says it was done. */
function migrate(db: DatabaseSync, schema: readonly Migration[], o: EngineOptions): void {
  if (o.userVersion !== schema.length) {
    throw new FarfieldError('E_INTERNAL', `a schema of ${schema.length} steps cannot lead to version ${o.userVersion}`);
  }
  const stored = storedVersion(db);
  if (stored > o.userVersion) {
    throw new FarfieldError(
      'E_VERSION',
      `${o.file} was written by a newer Farfield (store version ${stored}, this one knows ${o.userVersion}). Nothing was changed; start the newer version again`,
    );
  }
  for (let version = stored; version < o.userVersion; version++) {
    db.exec('begin immediate');
    try {
      db.exec(schema[version] ?? '');
      db.exec(`pragma user_version = ${version + 1}`);
      db.exec('commit');
    } catch (error) {
      if (db.isTransaction) db.exec('rollback');
      throw error;
    }
  }
}

/**
 * A file whose folder entry is not on disk is not on disk. SQLite sees to its log's entry, not to that of the
 * main file.
 */
function syncFolder(file: string): void {
  if (file === ':memory:') return;
  const folder = openSync(dirname(file), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Ours alone, whatever the umask: the log and the shared memory beside it take the file's mode. */
function keepPrivate(file: string): void {
  if (file === ':memory:') return;
  closeSync(openSync(file, 'a', 0o600));
  chmodSync(file, 0o600);
}

function openDatabase(schema: readonly Migration[], o: EngineOptions): DatabaseSync {
  keepPrivate(o.file);
  const db = new DatabaseSync(o.file, { timeout: 5000 });
  try {
    // The version is looked at before anything is written: a newer file stays as it is, byte for byte.
    if (storedVersion(db) > o.userVersion) migrate(db, schema, o);
    db.exec('pragma journal_mode = wal');
    db.exec(`pragma synchronous = ${o.synchronous}`);
    // Checkpoints are asked for explicitly (group.ts says when): automatic ones run inside somebody's commit.
    db.exec('pragma wal_autocheckpoint = 0');
    db.exec('pragma cache_size = -8192');
    db.exec('pragma temp_store = memory');
    migrate(db, schema, o);
    syncFolder(o.file);
    if (o.maxPageCount > 0) db.exec(`pragma max_page_count = ${o.maxPageCount}`);
    return db;
  } catch (error) {
    db.close();
    if (error instanceof FarfieldError) throw error;
    throw errorOf(failureOf(error));
  }
}

export function openEngine<C, R>(module: Pick<CommandModule<C, R>, 'schema' | 'open'>, o: EngineOptions): Engine<C, R> {
  const db = openDatabase(module.schema, o);
  const handle = module.open(db);
  const begin = db.prepare('begin immediate');
  const commit = db.prepare('commit');
  const rollback = db.prepare('rollback');
  const savepoint = db.prepare('savepoint one');
  const release = db.prepare('release one');
  const undo = db.prepare('rollback to one');
  // NOOP only counts (SQLite 3.51); an older library takes the word for PASSIVE, which is slower and right.
  const walState = db.prepare('pragma wal_checkpoint(noop)');
  const passive = db.prepare('pragma wal_checkpoint(passive)');
  let poisoned: Failure | undefined;
  let commits = 0;
  let reruns = 0;

  const abandon = (reason: unknown): Failure => {
    if (isFatal(reason)) poisoned = failureOf(reason);
    // SQLite rolls some failures back by itself (a full disk among them).
    if (db.isTransaction) rollback.run();
    return failureOf(reason);
  };
  const failed = (failure: Failure): Outcome<R> => ({ ok: false, failure });

  const together = (commands: readonly C[]): Outcome<R>[] | Failure => {
    try {
      begin.run();
      const outcomes: Outcome<R>[] = commands.map((command) => ({ ok: true, value: handle(command) }));
      commit.run();
      commits++;
      return outcomes;
    } catch (error) {
      return abandon(error);
    }
  };
  /** Undefined when the transaction as a whole cannot be kept. */
  const withSavepoints = (commands: readonly C[]): Outcome<R>[] | undefined => {
    const outcomes: Outcome<R>[] = [];
    try {
      begin.run();
      for (const command of commands) {
        savepoint.run();
        try {
          outcomes.push({ ok: true, value: handle(command) });
        } catch (error) {
          if (!db.isTransaction || isFatal(error)) throw error;
          undo.run();
          outcomes.push(failed(failureOf(error)));
        }
        release.run();
      }
      commit.run();
      commits++;
      return outcomes;
    } catch (error) {
      abandon(error);
      return undefined;
    }
  };
  const oneByOne = (commands: readonly C[]): Outcome<R>[] =>
    commands.map((command) => {
      if (poisoned !== undefined) return failed(poisoned);
      const outcome = together([command]);
      return Array.isArray(outcome) ? (outcome[0] as Outcome<R>) : failed(outcome);
    });

  return {
    db,
    run(commands) {
      if (poisoned !== undefined) return oneByOne(commands);
      const first = together(commands);
      if (Array.isArray(first)) return first;
      if (commands.length === 1) return [failed(first)];
      reruns++;
      return withSavepoints(commands) ?? oneByOne(commands);
    },
    commits: () => commits,
    reruns: () => reruns,
    wal() {
      const row = walState.get();
      const pages = Number(row?.log ?? 0);
      return { pages, behind: pages - Number(row?.checkpointed ?? 0) };
    },
    checkpoint() {
      try {
        passive.get();
      } catch (error) {
        // A full disk: the log stays as it is, and the next attempt goes on from there. G3 holds for the main file too.
        if (isFatal(error)) poisoned = failureOf(error);
      }
    },
    close: () => db.close(),
  };
}
