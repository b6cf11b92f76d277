/**
 * Opens what an object header describes: chooses the way its rows are read, after checking all that it says.
 *
 * Invariants
 *  D1 Filters come first: one that cannot be undone here ends the opening, before a byte of the data is read.
 *  D2 A chunk is never larger than the memory promise allows, and what was said of sizes in two places agrees.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_CHUNK_BYTES } from '../limits.ts';
import { Cursor, StoredBytes, type Widths } from './bytes.ts';
import { ChunkTable } from './chunks.ts';
import type { ElementType } from './elements.ts';
import { filterName, filterProblem, pluginPath } from './filters.ts';
import type { ChunkLayout, ExternalPiece } from './layout.ts';
import type { Hdf5Library } from './library.ts';
import type { StoredObject } from './object.ts';
import { createPipeline } from './pipeline.ts';
import { createPluginDecoder, type PluginDecoder } from './plugin.ts';
import {
  chunkedRows,
  compactRows,
  contiguousRows,
  fillWith,
  hasWholeRows,
  type StoredRows,
  unwrittenRows,
} from './stored-rows.ts';
import { readMappings, virtualRows } from './virtual.ts';

/** A data set that is ready to be read. */
export interface StoredDataset extends Disposable {
  readonly where: string;
  readonly shape: readonly number[];
  readonly element: ElementType;
  readonly chunkRows: number;
  readonly held: boolean;
  readonly rows: StoredRows;
}

/** Where the object was found, and how to get at what it leads to. */
export interface StoredPlace {
  readonly bytes: StoredBytes;
  readonly widths: Widths;
  readonly library: Hdf5Library;
  readonly file: bigint;
  readonly path: string;
  /** A data set of another file, or of this one (`.`). */
  readonly other: (file: string, dataset: string) => StoredDataset;
  readonly otherBytes: (file: string) => { readonly fd: number; readonly close: () => void };
}

/** What was opened along with a data set. */
type Close = (() => void)[];

/** Opens the object for reading; what it opens along the way is closed with it, or at once where opening fails. */
export function openStored(object: StoredObject, place: StoredPlace): StoredDataset {
  const { bytes } = place;
  const { shape, element, layout } = object;
  if (shape === null || shape.length === 0) throw new FarfieldError('E_INPUT', `${bytes.where}: holds no array`);
  for (const filter of object.filters) {
    const problem = filterProblem(filter.id, filter.name, place.library.plugins);
    if (problem !== undefined) throw new FarfieldError('E_HDF5', `${bytes.where}: ${problem}`);
  }
  const close: Close = [];
  const end = (): void => {
    for (const one of close.splice(0)) one();
  };
  try {
    // What is no number is refused by its name, by the caller; its bytes do not matter.
    const rows = element.stored === undefined ? unwrittenRows(bytes, undefined) : rowsOf(object, shape, place, close);
    const chunk = layout.kind === 'chunked' ? layout.chunk : undefined;
    const held = chunk !== undefined && hasWholeRows(shape, chunk);
    return { where: bytes.where, shape, element, chunkRows: chunk?.[0] ?? 1, held, rows, [Symbol.dispose]: end };
  } catch (reason) {
    end();
    throw reason;
  }
}

/** D2, by layout. */
function rowsOf(object: StoredObject, shape: readonly number[], place: StoredPlace, close: Close): StoredRows {
  const { bytes } = place;
  const { layout, element, fill } = object;
  const [rows = 0, ...rest] = shape;
  const rowBytes = rest.reduce((product, n) => product * n, element.bytes);
  switch (layout.kind) {
    case 'compact':
      return compactRows(bytes, layout.bytes, rowBytes, rows);
    case 'contiguous':
      if (object.filters.length > 0) throw bytes.damaged('filters stand on data that are in one piece');
      if (layout.at === undefined) return unwrittenRows(bytes, fill);
      if (layout.bytes !== undefined && layout.bytes !== rows * rowBytes) {
        throw bytes.damaged(`${layout.bytes} bytes are stored for ${rows} rows of ${rowBytes}`);
      }
      return contiguousRows(bytes, layout.at, rowBytes, rows);
    case 'external':
      return externalRows(layout.pieces, rowBytes, rows, place, fill, close);
    case 'virtual':
      return openVirtual(object, shape, rowBytes, place, layout, close);
    case 'chunked':
      return openChunked(object, shape, place, layout);
  }
}

/** Reads the whole index; the decoders are compiled when their first chunk comes. */
function openChunked(
  object: StoredObject,
  shape: readonly number[],
  place: StoredPlace,
  layout: ChunkLayout,
): StoredRows {
  const { bytes, library } = place;
  const { element, filters, fill } = object;
  const chunkBytes = layout.chunk.reduce((product, n) => product * n, element.bytes);
  if (chunkBytes > MAX_CHUNK_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${bytes.where}: its chunks have ${chunkBytes} bytes, and a chunk is inflated whole; rewrite it with chunks of at most ${MAX_CHUNK_BYTES}`,
    );
  }
  const table = new ChunkTable(bytes, place.widths, object, layout);
  const decoders = new Map<number, PluginDecoder>();
  const pipeline = createPipeline(filters, table.chunkBytes, (id) => {
    const known = decoders.get(id);
    if (known !== undefined) return known;
    const path = pluginPath(id, library.plugins);
    if (path === undefined) throw new FarfieldError('E_HDF5', `${bytes.where}: no decoder for ${filterName(id)}`);
    const made = createPluginDecoder(path);
    decoders.set(id, made);
    return made;
  });
  return chunkedRows({ bytes, table, pipeline, shape, elementBytes: element.bytes, fill });
}

/** Opens every source at once: a file that is missing is known before hours of computing, not after. */
function openVirtual(
  { element, fill }: StoredObject,
  shape: readonly number[],
  rowBytes: number,
  place: StoredPlace,
  layout: { readonly heap: number; readonly entry: number },
  close: Close,
): StoredRows {
  const { bytes, widths } = place;
  const cursorOf = (block: Uint8Array): Cursor => new Cursor(block, widths, (what) => bytes.damaged(what));
  const mappings = readMappings(bytes, widths, layout.heap, layout.entry, cursorOf, shape);
  return virtualRows(
    {
      bytes,
      shape,
      rowBytes,
      fill,
      open(file, dataset) {
        const source = place.other(file, dataset);
        close.push(() => source[Symbol.dispose]());
        const same =
          source.element.name === element.name &&
          source.element.bigEndian === element.bigEndian &&
          source.shape.length === shape.length &&
          source.shape.every((n, axis) => axis === 0 || n === shape[axis]);
        if (same) return { rows: source.shape[0] ?? 0, stored: source.rows };
        throw new FarfieldError(
          'E_HDF5',
          `${bytes.where}: its source ${source.where} has other rows or elements; copy it into a plain data set`,
        );
      },
    },
    mappings,
  );
}

/** Rows in plain files, one piece after the other. A piece that is shorter than stated would be filled by the library in silence. */
function externalRows(
  pieces: readonly ExternalPiece[],
  rowBytes: number,
  rows: number,
  place: StoredPlace,
  fill: Uint8Array | undefined,
  close: Close,
): StoredRows {
  const total = rows * rowBytes;
  const parts: { readonly from: number; readonly to: number; readonly bytes: StoredBytes }[] = [];
  let at = 0;
  for (const piece of pieces) {
    if (at >= total) break;
    const { fd, close: end } = place.otherBytes(piece.file);
    close.push(end);
    const to = Math.min(total, at + (piece.bytes ?? total));
    const bytes = new StoredBytes(fd, piece.offset, to - at, place.bytes.where);
    // The file must hold its piece now; reading checks again.
    bytes.readInto(new Uint8Array(Math.min(1, to - at)), Math.max(0, to - at - 1), `its piece in "${piece.file}"`);
    parts.push({ from: at, to, bytes });
    at = to;
  }
  return {
    read(from, count, target) {
      const [start, end] = [from * rowBytes, (from + count) * rowBytes];
      for (const part of parts) {
        const [low, high] = [Math.max(start, part.from), Math.min(end, part.to)];
        if (low >= high) continue;
        part.bytes.readInto(target.subarray(low - start, high - start), low - part.from, 'an external piece');
      }
      if (at < end) fillWith(place.bytes, target.subarray(Math.max(0, at - start)), fill, 'the data');
    },
  };
}
