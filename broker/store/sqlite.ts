/** The broker's store on disk: SQLite in worker threads, one commit (and fsync) for whatever queued during the last one. */
import { type GroupStore, openGroupStore } from '#base/sqlite/group.ts';
import type { CommandMessage, QuestionMessage } from './rules/handle.ts';
import { SCHEMA } from './sqlite/schema.ts';
import type { BrokerStore, Commands, Reads } from './store.ts';

export interface SqliteStoreOptions {
  readonly file: string;
  /** Pages of 4 KiB; the disk decides when left out. */
  readonly maxPageCount?: number;
  /** `off` only for tests that show that they notice. */
  readonly synchronous?: 'full' | 'off';
}

/** The interface over any group store that runs the module: kinds and answers belong together by the type of the message. */
export function overGroup(group: GroupStore<CommandMessage, unknown, QuestionMessage, unknown>): BrokerStore {
  return {
    apply: <K extends keyof Commands>(kind: K, command: Commands[K]['in']) =>
      group.submit({ kind, command } as CommandMessage) as Promise<Commands[K]['out']>,
    read: <K extends keyof Reads>(kind: K, question: Reads[K]['in']) =>
      group.query({ kind, question } as QuestionMessage) as Promise<Reads[K]['out']>,
    close: () => group.close(),
    ended: group.ended,
    [Symbol.asyncDispose]: () => group.close(),
  };
}

export async function openSqliteStore(options: SqliteStoreOptions): Promise<BrokerStore> {
  const module = new URL(
    import.meta.url.endsWith('.ts') ? './sqlite-module.ts' : './broker-store.mjs',
    import.meta.url,
  );
  return overGroup(await openGroupStore({ ...options, module, userVersion: SCHEMA.length }));
}
