/** The rows' own digest, the same however a file compresses or chunks them. */
import { createHash } from 'node:crypto';
import type { RowSource } from './sources.ts';

export interface HashedSource extends RowSource {
  /** Of the bytes read so far (stored type, little-endian). Rows are read in order and once, as a job does. */
  digest(): string;
}

export function hashed(source: RowSource): HashedSource {
  const hash = createHash('sha256');
  return {
    ...source,
    readRows: (from, count, target) => {
      source.readRows(from, count, target);
      hash.update(target.subarray(0, count * source.rowBytes));
    },
    digest: () => `sha256:${hash.copy().digest('hex')}`,
    [Symbol.dispose]: () => {},
  };
}
