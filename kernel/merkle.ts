/**
 * Merkle trees with the hashing of RFC 9162: a leaf is hashed with 0x00 before it (by its maker, kernel/leaves.ts), an inner
 * node is SHA-256(0x01 | left | right), and a tree of n leaves splits at the largest power of two below n.
 *
 * Invariants
 *  M1 A leaf can never be taken for a node: the prefixes differ.
 *  M2 A proof holds for one (root, index, n, leaf) only.
 */
import { type Bytes, equalBytes, sha256Into } from './bytes.ts';

const HASH = 32;

const node = Buffer.alloc(1 + 2 * HASH);
node[0] = 1;

/** Root over leaf hashes that lie back to back; `leaves` is left as it is. */
export function merkleRootOf(leaves: Bytes): Bytes {
  let n = leaves.byteLength / HASH;
  if (!Number.isInteger(n) || n < 1) throw new RangeError('a tree has one leaf or more');
  // Level by level in one buffer, a last odd node moving up unchanged: the same tree as the recursive split, no recursion.
  const level = Buffer.from(leaves);
  while (n > 1) {
    let out = 0;
    for (let k = 0; k + 1 < n; k += 2) {
      level.copy(node, 1, k * HASH, (k + 2) * HASH);
      sha256Into(node, level, out * HASH);
      out += 1;
    }
    if (n % 2 === 1) {
      level.copy(level, out * HASH, (n - 1) * HASH, n * HASH);
      out += 1;
    }
    n = out;
  }
  return level.subarray(0, HASH);
}

/** Root over a list of leaf hashes. */
export function merkleRoot(leaves: readonly Bytes[]): Bytes {
  return merkleRootOf(Buffer.concat(leaves));
}

/** The siblings of leaf `index`, from the bottom up. */
export function merkleProof(leaves: readonly Bytes[], index: number): Bytes[] {
  if (!Number.isInteger(index) || index < 0 || index >= leaves.length)
    throw new RangeError(`no leaf ${index} of ${leaves.length}`);
  const proof: Bytes[] = [];
  let level: readonly Bytes[] = leaves;
  for (let at = index; level.length > 1; at = Math.floor(at / 2)) {
    const sibling = level[at % 2 === 0 ? at + 1 : at - 1];
    if (sibling !== undefined) proof.push(sibling);
    level = parents(level);
  }
  return proof;
}

function parents(level: readonly Bytes[]): Bytes[] {
  const above: Bytes[] = [];
  for (let k = 0; k < level.length; k += 2) {
    const [left, right] = [level[k], level[k + 1]];
    if (left !== undefined) above.push(right === undefined ? left : join(left, right));
  }
  return above;
}

function join(left: Bytes, right: Bytes): Bytes {
  node.set(left, 1);
  node.set(right, 1 + HASH);
  const out = Buffer.alloc(HASH);
  sha256Into(node, out, 0);
  return out;
}

/** Whether `leaf` is number `index` of the `n` under `root` (RFC 9162, 2.1.3.2). */
export function verifyProof(root: Bytes, index: number, n: number, leaf: Bytes, proof: readonly Bytes[]): boolean {
  if (!Number.isInteger(index) || !Number.isInteger(n) || index < 0 || index >= n) return false;
  if ([root, leaf, ...proof].some((part) => part.byteLength !== HASH)) return false;
  let at = index;
  let last = n - 1;
  let hash = leaf;
  let used = 0;
  for (; last > 0; at = Math.floor(at / 2), last = Math.floor(last / 2)) {
    // The last node of an odd level has no sibling and moves up as it is.
    if (at === last && at % 2 === 0) continue;
    const sibling = proof[used];
    if (sibling === undefined) return false;
    used += 1;
    hash = at % 2 === 1 ? join(sibling, hash) : join(hash, sibling);
  }
  return used === proof.length && equalBytes(hash, root);
}
