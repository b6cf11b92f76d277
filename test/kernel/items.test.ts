import { createHash } from 'node:crypto';
import t from 'tap';
import { checkItem, checkLeaves, itemsRoot, leafHash, leafList } from '#kernel/items.ts';
import { openItem } from '#kernel/tokens/item.ts';

const items = ['{"args":[]}', '{"args":[],"seed":1}', '{"args":[],"seed":2}'].map((text) => Buffer.from(text));
const leaves = leafList(
  items.map((item) => item.length),
  Buffer.concat(items),
);
const list = { n: items.length, sha256: itemsRoot(leaves) };

t.test('a leaf and a root are the hashes that the format states', async (t) => {
  const leaf = createHash('sha256')
    .update('farfield/item/v1\0')
    .update(Buffer.from([0, 0, 1, 2]))
    .update('abc')
    .digest();
  t.ok(leaf.equals(leafHash(258, Buffer.from('abc'))));
  const root = createHash('sha256')
    .update('farfield/items/v1\0')
    .update(Buffer.from([0, 0, 0, 3]))
    .update(leaves)
    .digest('hex');
  t.equal(list.sha256, `sha256:${root}`);
});

t.test('an item is taken only at its own index, with its own bytes', async (t) => {
  for (const [i, item] of items.entries()) checkItem(leaves, i, item);
  t.throws(() => checkItem(leaves, 0, items[1] ?? Buffer.alloc(0)), { code: 'E_ITEMS' }, 'swapped');
  t.throws(() => checkItem(leaves, 2, Buffer.from('{"args":[],"seed":3}')), { code: 'E_ITEMS' }, 'altered');
  t.throws(() => checkItem(leaves, 3, items[0] ?? Buffer.alloc(0)), { code: 'E_ITEMS' }, 'past the end');
});

t.test('a list with one leaf more, one less, or in another order is refused', async (t) => {
  checkLeaves(list, leaves);
  t.throws(() => checkLeaves(list, leaves.subarray(32)), { code: 'E_ITEMS' });
  t.throws(() => checkLeaves(list, Buffer.concat([leaves, leaves.subarray(0, 32)])), { code: 'E_ITEMS' });
  t.throws(() => checkLeaves({ ...list, n: 2 }, leaves), { code: 'E_ITEMS' });
  t.throws(() => checkLeaves(list, Buffer.concat([leaves.subarray(32), leaves.subarray(0, 32)])), { code: 'E_ITEMS' });
  const one = leafList([items[0]?.length ?? 0], items[0] ?? Buffer.alloc(0));
  t.throws(
    () => checkLeaves({ n: 1, sha256: `sha256:${Buffer.from(one).toString('hex')}` }, one),
    { code: 'E_ITEMS' },
    'a leaf as root',
  );
});

t.test('sizes that do not add up, empty lists and huge items are refused', async (t) => {
  t.throws(() => leafList([3], Buffer.from('abcd')), { code: 'E_ITEMS' });
  t.throws(() => itemsRoot(new Uint8Array(0)), { code: 'E_ITEMS' });
  t.throws(() => itemsRoot(new Uint8Array(33)), { code: 'E_ITEMS' });
  t.throws(() => itemsRoot(new Uint8Array(32 * 4097)), { code: 'E_ITEMS' });
  t.throws(() => leafHash(0, new Uint8Array(8 * 1024 + 1)), { code: 'E_TOO_LARGE' });
});

t.test('an item body is closed, and reserved fields are called reserved', async (t) => {
  t.same(openItem(0, Buffer.from('{"args":[],"seed":7}')), { args: [], seed: 7 });
  t.throws(() => openItem(0, Buffer.from('{"args":[],"extra":1}')), { code: 'E_ITEMS' });
  t.throws(() => openItem(0, Buffer.from('{"args":[],"seed":1,"seed":2}')), { code: 'E_ITEMS' });
  t.throws(() => openItem(0, Buffer.from('{"args":[],"lbl":"x"}')), { code: 'E_TOKEN_RESERVED' });
  t.throws(() => openItem(0, Buffer.alloc(9000, ' ')), { code: 'E_TOO_LARGE' });
});
