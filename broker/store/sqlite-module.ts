/** The command module of the broker's database: what base/sqlite runs in the writer's and the reader's thread. */
import type { DatabaseSync } from 'node:sqlite';
import { answer, type CommandMessage, handle, type QuestionMessage } from './rules/handle.ts';
import { sqliteRows } from './sqlite/rows.ts';

export { SCHEMA as schema } from './sqlite/schema.ts';

export function open(db: DatabaseSync): (message: CommandMessage) => unknown {
  const rows = sqliteRows(db);
  return (message) => handle(rows, message);
}

export function openReads(db: DatabaseSync): (message: QuestionMessage) => unknown {
  const rows = sqliteRows(db);
  return (message) => answer(rows, message);
}
