/**
 * The first structure of a file: where addresses count from, and how wide they are.
 *
 * h5wasm has opened the file by then and checked more (the end of the file, checksums); this reads the three facts that
 * it does not hand out.
 */
import { fstatSync } from 'node:fs';
import { mustAddUp, StoredBytes, type Widths } from './bytes.ts';

const SIGNATURE = Buffer.from([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]);
const HEAD_BYTES = 128;

export function readSuperblock(fd: number, name: string): { readonly bytes: StoredBytes; readonly widths: Widths } {
  const { size } = fstatSync(fd);
  const whole = new StoredBytes(fd, 0, size, name);
  const at = find(whole);
  const head = whole.read(at, Math.min(HEAD_BYTES, size - at), 'the superblock');
  const number = (k: number): number => head[k] ?? 0;
  const version = number(8);
  const old = version <= 1;
  const widths = { address: number(old ? 13 : 9), length: number(old ? 14 : 10) };
  const known = version <= 3 && [2, 4, 8].includes(widths.address) && [2, 4, 8].includes(widths.length);
  if (!known) throw whole.damaged('the superblock has an unknown version or widths');
  const baseAt = old ? 24 + (version === 1 ? 4 : 0) : 12;
  if (!old)
    mustAddUp(head.subarray(0, baseAt + 4 * widths.address + 4), 'the superblock', (what) => whole.damaged(what));
  const base = Buffer.from(head).readUIntLE(baseAt, Math.min(6, widths.address));
  // A file whose user block was cut off or added later: the library shifts every address, here nobody would notice an
  // error.
  if (base !== at) throw whole.damaged(`the superblock lies at byte ${at} and says ${base}`);
  return { bytes: new StoredBytes(fd, at, size - at, name), widths };
}

/** At 0, or behind a user block of 512 bytes, or twice that, and so on. */
function find(whole: StoredBytes): number {
  for (let at = 0; at + 48 <= whole.length; at = at === 0 ? 512 : at * 2) {
    if (Buffer.from(whole.read(at, 8, 'the superblock')).equals(SIGNATURE)) return at;
  }
  throw whole.damaged('there is no superblock');
}
