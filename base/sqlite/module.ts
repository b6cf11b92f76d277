/**
 * What a command module is: the part of a store that runs beside the database, in the writer's thread.
 *
 * Invariants (of the module's author)
 *  M1 A handler keeps no state between commands but prepared statements: a group that fails is rolled back and
 *     run again.
 *  M2 A refusal that is expected (a condition on stored state does not hold) is a returned value. A throw rolls
 *     the command back and costs the whole group a second run.
 *  M3 Commands, results, queries and answers are plain data: no functions, no class instances but Uint8Array,
 *     Map and Set.
 *  M4 No handler asks for the time or for random numbers: both arrive in the command.
 *  M5 A query leaves no iterator open: an open one would pin the write-ahead log.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';

/**
 * One step of the schema: SQL that leads from `user_version` i (its index in the list) to i + 1. Never edited
 * once released.
 */
export type Migration = string;

/** What the file named by `module` exports. `openReads` is needed only where `query` is called. */
export interface CommandModule<C = unknown, R = unknown, Q = unknown, A = unknown> {
  readonly schema: readonly Migration[];
  open(db: DatabaseSync): (command: C) => R;
  openReads?(db: DatabaseSync): (query: Q) => A;
}

export type Statements = (sql: string) => StatementSync;

/**
 * Prepared statements by their text, prepared at first use. Texts are constants of the module, so the cache is
 * bounded.
 */
export function createStatements(db: DatabaseSync): Statements {
  const cache = new Map<string, StatementSync>();
  return (sql) => {
    let statement = cache.get(sql);
    if (statement === undefined) {
      statement = db.prepare(sql);
      cache.set(sql, statement);
    }
    return statement;
  };
}
