import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { root } from './source.ts';

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
type Lock = Readonly<Record<string, Locked>>;

/** Whether a package that lies at `from` finds `name` as Node does: in its own node_modules or in one above. */
function finds(lock: Lock, from: string, name: string): boolean {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    if (lock[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true;
    if (at === '') return false;
  }
}

/** Packages that something asks for and the lock does not have: `npm ci` refuses such a lock. */
function missing(lock: Lock): string[] {
  return Object.entries(lock).flatMap(([at, { dependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies })
      .filter((name) => !finds(lock, at, name))
      .map((name) => `${at} asks for ${name}`),
  );
}

const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as { packages: Lock };

t.test('a fresh clone can be installed: the lock has every package for every platform', async (t) => {
  t.strictSame(missing(packages), []);
  t.strictSame(missing({ '': { dependencies: { a: '1' } }, 'node_modules/a': { optionalDependencies: { b: '1' } } }), [
    'node_modules/a asks for b',
  ]);
});

t.test('what is installed is what was locked, from whatever registry it comes', async (t) => {
  for (const [at, { version, integrity, resolved }] of Object.entries(packages)) {
    if (at === '') continue;
    if (version === undefined || integrity === undefined) t.fail(`${at} has no version or no integrity`);
    if (resolved !== undefined) t.fail(`${at} names the address ${resolved}`);
  }
  t.ok(Object.keys(packages).length > 100, 'the lock was read');
});
