import t from 'tap';
import { brokenImports, brokenReads, brokenSizes } from './laws.ts';
import { parseSource, readSource, sourcePaths } from './source.ts';

const files = sourcePaths().map(readSource);

t.test('kernel < protos < base < each process, and no process imports another', async (t) => {
  t.ok(files.length > 50, 'the sources were found');
  t.strictSame(files.flatMap(brokenImports), []);
});

t.test('files and functions stay small enough to read', async (t) => {
  t.strictSame(files.flatMap(brokenSizes), []);
});

t.test('only main.ts, the clock and the randomness read what a simulation must decide', async (t) => {
  t.strictSame(files.flatMap(brokenReads), []);
});

t.test('the laws can be broken', async (t) => {
  const broken = (path: string, text: string): number => {
    const file = parseSource(path, text);
    return [...brokenImports(file), ...brokenSizes(file), ...brokenReads(file)].length;
  };
  t.equal(broken('kernel/a.ts', "import fs from 'node:fs';"), 1, 'kernel reads files');
  t.equal(broken('kernel/a.ts', "import { x } from '#base/x.ts';"), 1, 'kernel imports base');
  t.equal(broken('protos/a.ts', "import { x } from '../base/x.ts';"), 1, 'a relative path is no way around');
  t.equal(broken('agent/a.ts', "import type { X } from '../broker/x.ts';"), 1, 'a type is coupling too');
  t.equal(broken('agent/a.ts', "const x = await import('../pilot/x.ts');"), 1, 'dynamic import');
  t.equal(broken('agent/a.ts', "import type {\n  X,\n} from '../pilot/x.ts';"), 1, 'over many lines');
  t.equal(broken('agent/a.ts', "type X = import('../pilot/x.ts').X;"), 1, 'in a type');
  t.equal(broken('agent/a.ts', "export { x } from '../pilot/x.ts';"), 1, 'handed on');
  t.equal(broken('client/cli/main.ts', "const x = import('../../agent/cli/x.ts');"), 0, 'the one exception');
  t.equal(broken('client/cli/run.ts', "const x = import('../../agent/cli/x.ts');"), 1, 'and only there');
  t.equal(broken('base/a.ts', 'export const now = (): number => Date.now();'), 1, 'clock');
  t.equal(broken('base/a.ts', 'export const now = (): Date => new Date();'), 1, 'the date of now');
  t.equal(broken('base/a.ts', 'export const day = (ms: number): Date => new Date(ms);'), 0, 'a date that was given');
  t.equal(broken('base/a.ts', 'setTimeout(() => {}, 5);'), 1, 'a timer');
  t.equal(broken('base/a.ts', "import { randomUUID } from 'node:crypto';"), 1, 'randomness');
  t.equal(broken('base/a.ts', 'const { env } = process;'), 1, 'taken apart');
  t.equal(broken('base/a.ts', "import { argv } from 'node:process';"), 1, 'imported');
  t.equal(broken('base/a.ts', "const e = globalThis.process['env'];"), 1, 'spelt out');
  t.equal(broken('base/clock.ts', 'const r = Math.random();'), 1, 'the clock is no source of randomness');
  t.equal(broken('broker/main.ts', 'const e = process.env;'), 0, 'main may');
  t.equal(broken('broker/a.ts', `export function f(): void {\n${'void 0;\n'.repeat(120)}}`), 1, 'a long function');
  t.equal(broken('broker/a.ts', 'void 0;\n'.repeat(700)), 1, 'a long file');
});
