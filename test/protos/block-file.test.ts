import t from 'tap';
import { parseBlockFile } from '#protos/block-file.ts';

const good = {
  v: 1,
  block: 'b-1',
  agent: 'endpoint',
  socket: '/run/pilots.sock',
  token: 'a.b.c',
  slots: 2,
  graceS: 600,
  runner: { command: '/usr/bin/node', args: ['runner.js'] },
  env: { PATH: '/usr/bin' },
};

t.test('a block file reads as it was written', async (t) => {
  t.strictSame(parseBlockFile(JSON.stringify(good)), good);
});

t.test('anything else is refused with the key that is wrong', async (t) => {
  const bad: [object, RegExp][] = [
    [{ v: 2 }, /version 2/],
    [{ extra: 1 }, /unknown key "extra"/],
    [{ slots: 0 }, /slots/],
    [{ slots: 1.5 }, /slots/],
    [{ graceS: -1 }, /graceS/],
    [{ token: '' }, /token/],
    [{ socket: 7 }, /socket/],
    [{ runner: { command: 'x' } }, /runner/],
    [{ env: { A: 1 } }, /env/],
  ];
  for (const [change, message] of bad) {
    t.throws(() => parseBlockFile(JSON.stringify({ ...good, ...change })), { code: 'E_BAD_REQUEST', message });
  }
  t.throws(() => parseBlockFile('{'), { code: 'E_BAD_REQUEST', message: /no JSON/ });
  t.throws(() => parseBlockFile('[]'), { code: 'E_BAD_REQUEST', message: /no object/ });
});
