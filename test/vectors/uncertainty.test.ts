import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { uncertaintyVectors } from './uncertainty.ts';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Equal but for the last digits: Math.exp and its like may differ between engines by one of them. */
function differs(a: unknown, b: unknown, where = ''): string | undefined {
  if (typeof a === 'number' && typeof b === 'number')
    return Math.abs(a - b) <= 1e-9 * (1 + Math.abs(b)) ? undefined : `${where}: ${a} and ${b}`;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b ? undefined : where;
  const [left, right] = [Object.entries(a), new Map(Object.entries(b))];
  if (left.length !== right.size) return `${where}: other keys`;
  for (const [key, value] of left) {
    const found = differs(value, right.get(key), `${where}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

t.test('the formulas of the error calibration give the committed vectors', async (t) => {
  const committed = JSON.parse(readFileSync(path('uncertainty.json'), 'utf8')) as unknown;
  t.equal(differs(uncertaintyVectors(), committed), undefined);
  t.not(differs({ a: 1.001 }, { a: 1 }), undefined, 'a difference is seen');
});

const numpy = spawnSync('python3', ['-c', 'import numpy']).status === 0;
t.test('numpy gives the same', { skip: numpy ? false : 'python3 has no numpy here' }, async (t) => {
  const found = spawnSync('python3', [path('uncertainty.py')], { encoding: 'utf8' });
  t.equal(found.status, 0, found.stderr);
  t.match(found.stdout, /^\d+ checks/);
});
