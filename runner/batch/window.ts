/** Some rows of a source, as a source of their own; and what is known of rows by reading them. */
import { createHash } from 'node:crypto';
import { hashed } from '../hashed-rows.ts';
import { blockRows } from '../job.ts';
import type { RowSource } from '../sources.ts';

/** Rows [from, from + rows). The whole source stays its owner's to close. */
export function windowOf(source: RowSource, from: number, rows: number): RowSource {
  return {
    ...source,
    rows,
    shape: [rows, ...source.shape.slice(1)],
    readRows: (at, count, target) => source.readRows(from + at, count, target),
    [Symbol.dispose]: () => {},
  };
}

/** Reads all rows for their digest alone. */
export function digestRows(source: RowSource): string {
  const reader = hashed(source);
  const step = blockRows(source);
  const block = new Uint8Array(Math.min(step, source.rows) * source.rowBytes);
  for (let from = 0; from < source.rows; from += step) {
    const count = Math.min(step, source.rows - from);
    reader.readRows(from, count, block.subarray(0, count * source.rowBytes));
  }
  source.mustBeSame();
  return reader.digest();
}

const PROBED_ROWS = 8;

/** Digest of a few rows, evenly from the first to the last. A probe inflates as many chunks at most: a fraction of a second. */
export function probeRows(source: RowSource): string {
  const hash = createHash('sha256');
  const row = new Uint8Array(source.rowBytes);
  const steps = Math.min(PROBED_ROWS, source.rows) - 1;
  for (let i = 0; i <= steps; i++) {
    source.readRows(steps === 0 ? 0 : Math.floor((i * (source.rows - 1)) / steps), 1, row);
    hash.update(row);
  }
  return `sha256:${hash.digest('hex')}`;
}
