/**
 * What a Linux program or library asks of the machine it runs on, and the one change that the package makes to Node: where
 * it looks for the C++ library.
 *
 * 1. Everything is read through program headers, as the loader does it: section headers may be stripped.
 * 2. `withRpath` adds; it moves nothing. The string table is copied to a new segment at the end, because it cannot grow
 *    where it is; the header of PT_NOTE, which only tools read, becomes that segment's.
 */

const PT = { load: 1, dynamic: 2, interp: 3, note: 4 } as const;
const DT = {
  null: 0,
  needed: 1,
  strtab: 5,
  strsz: 10,
  rpath: 15,
  runpath: 29,
  verneed: 0x6ffffffe,
  verneednum: 0x6fffffff,
};
const DYN_BYTES = 16;
/** Pages are of 4 KiB to 64 KiB (arm64); a segment aligned to the largest fits them all. */
const PAGE = 0x10000;

const MACHINES: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64' };

export interface ElfFacts {
  readonly machine: string;
  /** Path of the loader; undefined for libraries. */
  readonly interpreter: string | undefined;
  readonly needs: readonly string[];
  /** `GLIBC_2.28`, `GLIBCXX_3.4.22`, ...: versions that the loader must find. */
  readonly versions: readonly string[];
  readonly rpath: string | undefined;
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  /** Where its header stands in the file. */
  readonly header: number;
}

interface Dynamic {
  readonly tag: number;
  readonly value: number;
  /** Where the entry stands in the file. */
  readonly at: number;
}

const MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);

export function isElf(bytes: Buffer): boolean {
  return bytes.subarray(0, 4).equals(MAGIC);
}

const word = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));

function segmentsOf(bytes: Buffer): Segment[] {
  if (!isElf(bytes) || bytes[4] !== 2 || bytes[5] !== 1) throw new Error('no 64-bit little-endian ELF file');
  const [start, size, count] = [word(bytes, 32), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  return Array.from({ length: count }, (_, i) => {
    const at = start + i * size;
    return {
      type: bytes.readUInt32LE(at),
      offset: word(bytes, at + 8),
      address: word(bytes, at + 16),
      fileSize: word(bytes, at + 32),
      memorySize: word(bytes, at + 40),
      header: at,
    };
  });
}

/** The place in the file of what lies at this address in memory. */
function fileOffset(segments: readonly Segment[], address: number): number {
  const held = segments.find((s) => s.type === PT.load && address >= s.address && address < s.address + s.fileSize);
  if (held === undefined) throw new Error(`address ${address.toString(16)} is in no segment`);
  return address - held.address + held.offset;
}

function textAt(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at, bytes.indexOf(0, at));
}

/** All slots, the empty ones at the end among them. */
function dynamicOf(bytes: Buffer, segments: readonly Segment[]): Dynamic[] {
  const table = segments.find((s) => s.type === PT.dynamic);
  if (table === undefined) return [];
  return Array.from({ length: Math.floor(table.fileSize / DYN_BYTES) }, (_, i) => {
    const at = table.offset + i * DYN_BYTES;
    return { tag: word(bytes, at), value: word(bytes, at + 8), at };
  });
}

function versionsOf(bytes: Buffer, start: number, files: number, strings: number): string[] {
  const found: string[] = [];
  for (let at = start, i = 0; i < files; i++) {
    const count = bytes.readUInt16LE(at + 2);
    for (let aux = at + bytes.readUInt32LE(at + 8), j = 0; j < count; j++) {
      found.push(textAt(bytes, strings + bytes.readUInt32LE(aux + 8)));
      aux += bytes.readUInt32LE(aux + 12);
    }
    at += bytes.readUInt32LE(at + 12);
  }
  return found;
}

export function readElf(bytes: Buffer): ElfFacts {
  const segments = segmentsOf(bytes);
  const entries = dynamicOf(bytes, segments);
  const value = (tag: number): number | undefined => entries.find((entry) => entry.tag === tag)?.value;
  const interp = segments.find((s) => s.type === PT.interp);
  const code = bytes.readUInt16LE(18);
  const strtab = value(DT.strtab);
  const strings = strtab === undefined ? 0 : fileOffset(segments, strtab);
  const verneed = value(DT.verneed);
  const rpath = value(DT.rpath) ?? value(DT.runpath);
  return {
    machine: MACHINES[code] ?? `machine ${code}`,
    interpreter: interp === undefined ? undefined : textAt(bytes, interp.offset),
    needs: entries.filter(({ tag }) => tag === DT.needed).map((entry) => textAt(bytes, strings + entry.value)),
    versions:
      verneed === undefined ? [] : versionsOf(bytes, fileOffset(segments, verneed), value(DT.verneednum) ?? 0, strings),
    rpath: rpath === undefined ? undefined : textAt(bytes, strings + rpath),
  };
}

/**
 * The program with DT_RPATH. Not DT_RUNPATH, which yields to LD_LIBRARY_PATH: modules of clusters set that to whatever their
 * compilers need, and an old C++ library there would keep Node from starting. Not LD_LIBRARY_PATH in a wrapper: every
 * scheduler command that the agent starts would inherit it.
 */
export function withRpath(bytes: Buffer, rpath: string): Buffer {
  const segments = segmentsOf(bytes);
  const entries = dynamicOf(bytes, segments);
  const note = segments.findLast((s) => s.type === PT.note);
  const loads = segments.filter((s) => s.type === PT.load);
  const end = entries.findIndex(({ tag }) => tag === DT.null);
  const [free, after] = [entries[end], entries[end + 1]];
  const [strtab, strsz] = [DT.strtab, DT.strsz].map((tag) => entries.find((entry) => entry.tag === tag));
  if (entries.some(({ tag }) => tag === DT.rpath || tag === DT.runpath))
    throw new Error('it has a search path already');
  if (note === undefined || free === undefined || after === undefined || strtab === undefined || strsz === undefined)
    throw new Error('no room for a search path: no note segment, or no free dynamic entry');
  // The loader takes segments to be in rising order, and the new one is the highest.
  if (loads.some(({ header }) => header > note.header))
    throw new Error('the note segment is not behind the loaded ones');
  const old = fileOffset(segments, strtab.value);
  const strings = Buffer.concat([bytes.subarray(old, old + strsz.value), Buffer.from(`${rpath}\0`, 'latin1')]);
  const up = (n: number): number => Math.ceil(n / PAGE) * PAGE;
  const offset = up(bytes.length);
  const address = up(Math.max(...loads.map((s) => s.address + s.memorySize)));
  const made = Buffer.alloc(offset + strings.length);
  bytes.copy(made);
  strings.copy(made, offset);
  const put = (at: number, value: number): unknown => made.writeBigUInt64LE(BigInt(value), at);
  made.writeUInt32LE(PT.load, note.header);
  made.writeUInt32LE(4, note.header + 4);
  for (const [i, value] of [offset, address, address, strings.length, strings.length, PAGE].entries())
    put(note.header + 8 + i * 8, value);
  put(strtab.at + 8, address);
  put(strsz.at + 8, strings.length);
  put(free.at, DT.rpath);
  put(free.at + 8, strsz.value);
  return made;
}
