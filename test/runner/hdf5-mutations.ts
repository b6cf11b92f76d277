/**
 * Damages the HDF5 fixtures at random and judges what reading them gives.
 *
 * What can be promised depends on what carries a checksum:
 *  sealed   newer files, data sets with gzip: every byte of structure and data is under a checksum, so after any change anywhere the
 *           values are right or there is an error.
 *  chunks   oldest files, data sets whose chunks have a checksum: the same for changes in chunks and chunk index.
 *  anywhere everything else: an error of ours or an array of numbers, never a crash; how often the numbers are wrong is counted.
 */
import { closeSync, copyFileSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import { type NumberArray, STORED } from '../../runner/dtype.ts';
import { ChunkTable } from '../../runner/hdf5/chunks.ts';
import type { Hdf5Library } from '../../runner/hdf5/library.ts';
import { readObject, type StoredObject } from '../../runner/hdf5/object.ts';
import { Hdf5File } from '../../runner/hdf5/reader.ts';
import { readSuperblock } from '../../runner/hdf5/superblock.ts';
import { FIXTURES } from './hdf5-fixtures.ts';

export type Kind = 'sealed' | 'chunks' | 'anywhere';

/** One file and data set, with the values that are right and the bytes that may be changed. */
interface Target {
  readonly kind: Kind;
  readonly file: string;
  readonly dataset: string;
  readonly original: Buffer;
  readonly values: NumberArray;
  readonly ranges: readonly (readonly [number, number])[];
}

export interface Tally {
  right: number;
  refused: number;
  wrong: number;
}

/** A round whose outcome must not be. */
export interface Finding {
  readonly seed: number;
  readonly round: number;
  readonly where: string;
  readonly what: string;
}

export interface FuzzResult {
  readonly tallies: Record<Kind, Tally>;
  /** Wrong values without an error, by data set: what formats without checksums cannot notice. */
  readonly unnoticed: Map<string, Tally>;
  readonly findings: Finding[];
}

/** Marsaglia's xorshift: enough to choose bytes, the same everywhere. */
export function seeded(seed: number): (below: number) => number {
  let state = (seed * 2654435761) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const SEALED = ['single_gzip', 'fixed_gzip', 'extensible_gzip', 'extensible_column', 'free_gzip', 'fixed_paged'];
const CHECKED = ['gzip', 'gzip_shuffle_fletcher32', 'fletcher32', 'scaleoffset_gzip'];
const UNCHECKED = [
  ...['lzf', 'lzf_shuffle', 'lz4', 'lz4_blocks', 'bitshuffle', 'bitshuffle_lz4', 'bitshuffle_zstd', 'zstd'],
  ...['blosc_blosclz', 'blosc_lz4', 'blosc_zlib', 'blosc_zstd', 'blosc_bitshuffle', 'blosc_plain', 'scaleoffset'],
];
const OLD = ['contiguous', 'compact', 'fixed', 'free', 'grown', 'sparse', 'entry/instrument/data', 'committed'];

export function targets(library: Hdf5Library): Target[] {
  const one = (kind: Kind, file: string, dataset: string, chunksOnly: boolean): Target => {
    const path = join(FIXTURES, file);
    const original = readFileSync(path);
    const ranges: [number, number][] = chunksOnly ? chunkRanges(library, path, dataset) : [[0, original.length]];
    return { kind, file, dataset, original, values: readValues(library, path, dataset), ranges };
  };
  return [
    ...['latest.h5', 'v110.h5'].flatMap((file) => SEALED.map((name) => one('sealed', file, name, false))),
    ...CHECKED.map((name) => one('chunks', 'filters.h5', name, true)),
    ...UNCHECKED.map((name) => one('anywhere', 'filters.h5', name, true)),
    ...['layouts.h5', 'latest.h5'].flatMap((file) => OLD.map((name) => one('anywhere', file, name, false))),
    ...['u2', 'big_f4', 'i8', 'f2'].map((name) => one('anywhere', 'types.h5', name, false)),
    ...['virtual', 'storage', 'link', 'turns', 'own'].map((name) => one('anywhere', 'master.h5', name, false)),
  ];
}

function readValues(library: Hdf5Library, path: string, dataset: string): NumberArray {
  using file = Hdf5File.open(library, path, 'x.h5', { roots: [dirname(path)] });
  using data = file.dataset(dataset);
  const { rows, rowBytes, stored } = data.info;
  // A damaged shape may ask for more than there is: a few rows tell as much.
  const most = Math.min(rows, Math.floor(2 ** 22 / Math.max(1, rowBytes)));
  const bytes = new Uint8Array(most * rowBytes);
  data.readRows(0, most, bytes);
  return STORED[stored].view(bytes.buffer, 0, bytes.length / STORED[stored].bytes);
}

interface FoundTable {
  /** Where the index begins. */
  readonly index: number;
  readonly table: ChunkTable;
  readonly object: StoredObject;
  readonly bytes: Buffer;
}

/** The chunk index of a data set. */
export function chunkTable(library: Hdf5Library, path: string, dataset: string): FoundTable {
  using _lease = library.allow(path);
  const id = library.module.open(path, library.module.H5F_ACC_RDONLY, false, -1, -1);
  const address = Number(Buffer.from(library.module.create_object_reference(id, dataset)).readBigUInt64LE(0));
  library.module.close_file(id);
  const fd = openSync(path, 'r');
  try {
    const { bytes, widths } = readSuperblock(fd, 'x.h5');
    const object = readObject(bytes, widths, address);
    if (object.layout.kind !== 'chunked' || object.layout.index === undefined) throw new TypeError(dataset);
    const table = new ChunkTable(bytes, widths, object, object.layout);
    return { index: object.layout.index, table, object, bytes: readFileSync(path) };
  } finally {
    closeSync(fd);
  }
}

/** Where the chunks of a data set and its index lie. */
function chunkRanges(library: Hdf5Library, path: string, dataset: string): [number, number][] {
  const { index, table } = chunkTable(library, path, dataset);
  const cells = table.grid.reduce((product, n) => product * n, 1);
  const chunks = Array.from({ length: cells }, (_, cell) => table.find(cell)).flatMap((found) =>
    found === undefined ? [] : [[found.at, found.at + found.bytes] as [number, number]],
  );
  // Head and three keys of four numbers with their addresses.
  return [[index, index + 24 + 3 * 48], ...chunks];
}

/** One to four changes of a few kinds; now and then the end is cut off. */
export function mutate(original: Buffer, ranges: Target['ranges'], random: (below: number) => number): Buffer {
  const bytes = Buffer.from(original);
  const place = (): number => {
    const [from, to] = ranges[random(ranges.length)] ?? [0, 1];
    return Math.min(bytes.length - 1, from + random(to - from));
  };
  for (let k = 1 + random(4); k > 0; k--) {
    const at = place();
    const kind = random(8);
    if (kind < 4) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
    else if (kind === 4) bytes[at] = random(256);
    else if (kind === 5) bytes[at] = [0, 255, 127, 128][random(4)] ?? 0;
    else if (kind === 6) for (let n = random(8); n >= 0; n--) bytes[Math.min(bytes.length - 1, at + n)] = random(256);
    else bytes.copyWithin(at, place(), Math.min(bytes.length, at + 8));
  }
  return random(40) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
}

/** `acquire` brings a library that has not trapped. */
export async function fuzz(
  wish: { readonly seed: number; readonly rounds: number; readonly folder: string },
  acquire: () => Promise<Hdf5Library>,
): Promise<FuzzResult> {
  const random = seeded(wish.seed);
  const all = targets(await acquire());
  const tally = (): Tally => ({ right: 0, refused: 0, wrong: 0 });
  const result: FuzzResult = {
    tallies: { sealed: tally(), chunks: tally(), anywhere: tally() },
    unnoticed: new Map(),
    findings: [],
  };
  const path = join(wish.folder, 'x.h5');
  for (const part of ['part-0.h5', 'part-1.h5', 'raw.bin']) copyFileSync(join(FIXTURES, part), join(wish.folder, part));
  for (let round = 0; round < wish.rounds; round++) {
    const target = all[random(all.length)] as Target;
    writeFileSync(path, mutate(target.original, target.ranges, random));
    const outcome = judge(await acquire(), path, target);
    const find = (what: string): void => {
      result.findings.push({ seed: wish.seed, round, where: `${target.file}:${target.dataset}`, what });
    };
    if (typeof outcome !== 'string') {
      find(String(outcome.foreign instanceof Error ? outcome.foreign.stack : outcome.foreign));
      continue;
    }
    result.tallies[target.kind][outcome]++;
    const own = result.unnoticed.get(target.dataset) ?? tally();
    own[outcome]++;
    result.unnoticed.set(target.dataset, own);
    if (outcome === 'wrong' && target.kind !== 'anywhere') find('wrong values and no error');
  }
  return result;
}

function judge(library: Hdf5Library, path: string, { values, dataset }: Target): keyof Tally | { foreign: unknown } {
  try {
    const found = readValues(library, path, dataset);
    const same = found.length === values.length && found.every((value, k) => Object.is(value, values[k]));
    return same ? 'right' : 'wrong';
  } catch (reason) {
    return reason instanceof FarfieldError ? 'refused' : { foreign: reason };
  }
}
