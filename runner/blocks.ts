/**
 * A block: the shared memory in which a run of rows travels from the reader through the lanes to the writer.
 *
 * One SharedArrayBuffer holds control words, raw rows and all per-row results, so that a block crosses threads without a copy
 * and two messages a lane are all that is sent.
 *
 * Invariants
 *  B1 Lanes take batches by adding to NEXT: every row is computed by exactly one lane.
 *  B2 Batches start at multiples of the batch size whatever lane takes them, so results do not depend on who computed them.
 *  B3 The main thread touches rows only before a block is posted and after every lane has answered.
 */
import type { StoredType } from '#protos/model.ts';
import { type NumberArray, STORED } from './dtype.ts';
import type { RowResults } from './rows.ts';

/** Decides where everything lies in a block's memory; equal layouts give equal offsets in every thread. */
export interface BlockLayout {
  /** Most rows that a block holds. */
  readonly rows: number;
  readonly stored: StoredType;
  /** Values of one sample and of one answer. */
  readonly sampleSize: number;
  readonly columns: number;
  readonly baselines: number;
  /** Features a row; none where absent. */
  readonly signals?: number;
}

/** Views on one block's memory. */
export interface Block {
  readonly memory: SharedArrayBuffer;
  readonly control: Int32Array;
  readonly bytes: Uint8Array;
  readonly raw: NumberArray;
  readonly results: RowResults;
}

/** Control words: the next row to take; 1 when the rest is not wanted any more. */
export const NEXT = 0;
export const CANCELLED = 1;
const CONTROL_BYTES = 16;

const aligned = (bytes: number): number => Math.ceil(bytes / 8) * 8;

/** Bytes of a block of this layout. */
export function blockBytes(layout: BlockLayout): number {
  const { rows, stored, sampleSize, columns, baselines, signals = 0 } = layout;
  const raw = aligned(rows * sampleSize * STORED[stored].bytes);
  return (
    CONTROL_BYTES +
    raw +
    aligned(rows * columns * 4) * (1 + baselines) +
    aligned(rows * 4) +
    aligned(rows) +
    aligned(rows * signals * 4)
  );
}

/** The views of a block; made once a thread. */
export function viewBlock(layout: BlockLayout, memory: SharedArrayBuffer): Block {
  const { rows, stored, sampleSize, columns, signals = 0 } = layout;
  let at = 0;
  const take = (bytes: number): number => {
    const start = at;
    at += aligned(bytes);
    return start;
  };
  const control = new Int32Array(memory, take(CONTROL_BYTES), CONTROL_BYTES / 4);
  const rawBytes = rows * sampleSize * STORED[stored].bytes;
  const rawAt = take(rawBytes);
  const floats = (n: number): Float32Array => new Float32Array(memory, take(n * 4), n);
  return {
    memory,
    control,
    bytes: new Uint8Array(memory, rawAt, rawBytes),
    raw: STORED[stored].view(memory, rawAt, rows * sampleSize),
    results: {
      predictions: floats(rows * columns),
      baselines: Array.from({ length: layout.baselines }, () => floats(rows * columns)),
      features: floats(rows),
      flags: new Uint8Array(memory, take(rows), rows),
      ...(signals === 0 ? {} : { signals: floats(rows * signals) }),
    },
  };
}

export function createBlock(layout: BlockLayout): Block {
  return viewBlock(layout, new SharedArrayBuffer(blockBytes(layout)));
}
