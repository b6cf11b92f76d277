/** A command module for the tests of the store: named boxes with a body, and a log of what happened in which order. */
import type { DatabaseSync } from 'node:sqlite';
import { createStatements } from '#base/sqlite/module.ts';
import { FarfieldError } from '#kernel/errors.ts';

export type ShelfCommand =
  | { kind: 'put'; name: string; body: Uint8Array }
  | { kind: 'drop'; name: string }
  /** Writes, then throws: nothing of it may stay. */
  | { kind: 'putAndFail'; name: string; how: 'refusal' | 'defect' | 'constraint' };

export type ShelfQuery =
  | { kind: 'names' }
  | { kind: 'body'; name: string }
  | { kind: 'order' }
  | { kind: 'twice' }
  | { kind: 'wrong' };

export interface ShelfResult {
  readonly name: string;
  /** Boxes after this command. */
  readonly count: number;
  readonly echo?: Uint8Array;
}

export const schema = [
  'create table box (name text primary key, body blob not null) without rowid',
  'create table happened (seq integer primary key, name text not null)',
];

export function open(db: DatabaseSync): (command: ShelfCommand) => ShelfResult {
  const sql = createStatements(db);
  const count = (): number => Number(sql('select count(*) as n from box').get()?.n);
  const put = (name: string, body: Uint8Array): void => {
    sql('insert into box (name, body) values (?, ?)').run(name, body);
    sql('insert into happened (name) values (?)').run(name);
  };
  return (command) => {
    const { kind, name } = command;
    if (kind === 'drop') {
      sql('delete from box where name = ?').run(name);
      return { name, count: count() };
    }
    if (kind === 'put') {
      put(name, command.body);
      return { name, count: count(), echo: command.body.subarray(0, 4) };
    }
    put(name, new Uint8Array(8));
    if (command.how === 'refusal') throw new FarfieldError('E_CONFLICT', 'no such luck', { details: { name } });
    if (command.how === 'constraint') put(name, new Uint8Array(8));
    throw new TypeError('a defect in the module');
  };
}

export function openReads(db: DatabaseSync): (query: ShelfQuery) => unknown {
  const sql = createStatements(db);
  return (query) => {
    switch (query.kind) {
      case 'names':
        return sql('select name from box order by name')
          .all()
          .map((row) => String(row.name));
      case 'body':
        return sql('select body from box where name = ?').get(query.name)?.body;
      case 'order':
        return sql('select name from happened order by seq')
          .all()
          .map((row) => String(row.name));
      case 'twice':
        return [1, 2].map(() => Number(sql('select count(*) as n from happened').get()?.n));
      default:
        throw new FarfieldError('E_NOT_FOUND', 'no such query');
    }
  };
}
