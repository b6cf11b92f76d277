/** Rows in maps: whatever a command did before it threw is taken back (W3). */
import type { Rows } from '../rows.ts';
import { accessRows } from './access.ts';
import { blobRows, keepingRows } from './keeping.ts';
import { packRows } from './packs.ts';
import { peopleRows } from './people.ts';
import { createTables } from './tables.ts';
import { besideRows, indexRows, ticketRows } from './tickets.ts';

export interface MemoryRows extends Rows {
  /** Runs one command; on a throw its changes are taken back. */
  atomically<T>(run: () => T): T;
}

export function memoryRows(first: string): MemoryRows {
  const tables = createTables();
  const { undo } = tables;
  let generation = first;
  return {
    ...peopleRows(tables),
    ...ticketRows(tables),
    ...besideRows(tables),
    ...indexRows(tables),
    ...packRows(tables),
    ...keepingRows(tables),
    ...accessRows(tables),
    ...blobRows(tables),
    generation: () => generation,
    setGeneration(value) {
      const before = generation;
      undo.push(() => {
        generation = before;
      });
      generation = value;
    },
    atomically(run) {
      undo.length = 0;
      try {
        return run();
      } catch (error) {
        for (const step of undo.reverse()) step();
        throw error;
      } finally {
        undo.length = 0;
      }
    },
  };
}
