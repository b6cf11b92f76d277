import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { merkleProof, merkleRoot, merkleRootOf, verifyProof } from '#kernel/merkle.ts';

const leavesOf = (n: number): Buffer[] => Array.from({ length: n }, () => randomBytes(32));

/** RFC 9162, 2.1.1, word for word: split at the largest power of two below n. */
function reference(leaves: readonly Buffer[]): Buffer {
  const [only] = leaves;
  if (leaves.length === 1 && only !== undefined) return only;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return createHash('sha256')
    .update(Buffer.of(1))
    .update(reference(leaves.slice(0, k)))
    .update(reference(leaves.slice(k)))
    .digest();
}

t.test('the root is that of RFC 9162 for every size from 1 to 70', async (t) => {
  for (let n = 1; n <= 70; n += 1) {
    const leaves = leavesOf(n);
    const before = Buffer.concat(leaves);
    const root = merkleRootOf(before);
    if (!reference(leaves).equals(root) || !before.equals(Buffer.concat(leaves))) t.fail(`n = ${n}`);
    if (!reference(leaves).equals(merkleRoot(leaves))) t.fail(`n = ${n}, as a list`);
  }
  t.throws(() => merkleRootOf(new Uint8Array(0)));
  t.throws(() => merkleRootOf(new Uint8Array(31)));
});

t.test('every leaf has a proof, and it holds for that leaf, place and size alone', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), fc.nat(), (n, pick, other) => {
      const leaves = leavesOf(n);
      const index = pick % n;
      const root = merkleRoot(leaves);
      const proof = merkleProof(leaves, index);
      const leaf = leaves[index] ?? Buffer.alloc(0);
      const stranger = leaves[other % n] ?? leaf;
      const wrong = [
        n > 1 && verifyProof(root, (index + 1) % n, n, leaf, proof),
        stranger !== leaf && verifyProof(root, index, n, stranger, proof),
        verifyProof(root, index, n, leaf, [...proof, leaf]),
        proof.length > 0 && verifyProof(root, index, n, leaf, proof.slice(1)),
        verifyProof(root, n, n, leaf, proof),
        verifyProof(root, -1, n, leaf, proof),
        n > 1 && verifyProof(root, 0, 1, leaf, []),
      ];
      return verifyProof(root, index, n, leaf, proof) && wrong.every((held) => !held);
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('an inner node is not a leaf: a shorter proof from the middle of the tree is refused', async (t) => {
  const leaves = leavesOf(4);
  const root = merkleRoot(leaves);
  const inner = merkleRoot(leaves.slice(0, 2));
  const right = merkleRoot(leaves.slice(2));
  t.ok(verifyProof(root, 0, 2, inner, [right]), 'as a tree of two nodes it would hold');
  t.notOk(verifyProof(root, 0, 4, inner, [right]), 'but n is signed');
});
