/** Rows in SQLite. Runs in the store's threads; every statement is prepared once. */
import type { DatabaseSync } from 'node:sqlite';
import { createStatements } from '#base/sqlite/module.ts';
import type { Rows } from '../rows.ts';
import { accessRows } from './access.ts';
import { blobRows, keepingRows } from './keeping.ts';
import { packRows } from './packs.ts';
import { peopleRows } from './people.ts';
import { createSql } from './sql.ts';
import { besideRows, indexRows, ticketRows } from './tickets.ts';

export function sqliteRows(db: DatabaseSync): Rows {
  const sql = createSql(createStatements(db));
  return {
    ...peopleRows(sql),
    ...ticketRows(sql),
    ...besideRows(sql),
    ...indexRows(sql),
    ...packRows(sql),
    ...blobRows(sql),
    ...keepingRows(sql),
    ...accessRows(sql),
  };
}
