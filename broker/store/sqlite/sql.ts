/** Statements by their text, and rows read by column: what the files beside this one share. */
import type { SQLInputValue, SQLOutputValue } from 'node:sqlite';
import type { Statements } from '#base/sqlite/module.ts';

export type Row = Record<string, SQLOutputValue>;

export const num = (row: Row, key: string): number => Number(row[key]);
export const text = (row: Row, key: string): string => row[key] as string;
export const blob = (row: Row, key: string): Uint8Array => row[key] as Uint8Array;

export interface Sql {
  one(sql: string, ...values: SQLInputValue[]): Row | undefined;
  all(sql: string, ...values: SQLInputValue[]): Row[];
  /** The rowid of what was inserted. */
  run(sql: string, ...values: SQLInputValue[]): number;
  /** Rows that were changed. */
  change(sql: string, ...values: SQLInputValue[]): number;
  numbers(sql: string, ...values: SQLInputValue[]): number[];
}

export function createSql(statement: Statements): Sql {
  const all = (sql: string, ...values: SQLInputValue[]): Row[] => statement(sql).all(...values) as Row[];
  return {
    all,
    one: (sql, ...values) => statement(sql).get(...values) as Row | undefined,
    run: (sql, ...values) => Number(statement(sql).run(...values).lastInsertRowid),
    change: (sql, ...values) => Number(statement(sql).run(...values).changes),
    numbers: (sql, ...values) => all(sql, ...values).map((row) => num(row, 'no')),
  };
}
