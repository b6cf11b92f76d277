/**
 * A store from a backup has given numbers to events that are gone. A new generation makes that harmless: every reader of the old
 * one is told to start over, and agents and clients send again what the backup lacks.
 */
import { lockFolder } from '#base/files.ts';
import type { Random } from '#base/random.ts';
import type { BrokerFolder } from '../config.ts';
import { openSqliteStore } from '../store/sqlite.ts';

/** Refused while the broker runs: it would go on under the old one. */
export async function renewGeneration(folder: BrokerFolder, random: Random, nowS: number): Promise<string> {
  using _lock = lockFolder(folder.root);
  await using store = await openSqliteStore({ file: folder.database });
  const generation = Buffer.from(random.bytes(8)).toString('hex');
  await store.apply('restored', { generation, nowS });
  return generation;
}
