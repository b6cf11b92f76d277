/** Whatever starts on every node must not load a schema library (200 ms, 20 MB) to name a thing or sign a hello. */
import { readFileSync } from 'node:fs';
import t from 'tap';

const LEAN = ['bytes', 'errors', 'ids', 'limits', 'items', 'leaves', 'merkle', 'sign', 'refusal', 'globs'];

/** Modules that a file loads when it runs: type-only imports are erased. */
function imported(url: URL): string[] {
  const text = readFileSync(url, 'utf8');
  return [...text.matchAll(/^(?:import|export)\s+(?!type\b)[^;]*?\bfrom\s+'([^']+)'/gm)].map((match) => match[1] ?? '');
}

t.test('ids, leaves, items and signing load node:crypto and each other, nothing else', async (t) => {
  for (const name of LEAN) {
    const seen = new Set<string>();
    const queue = [new URL(`../../kernel/${name}.ts`, import.meta.url)];
    for (const url of queue) {
      for (const specifier of imported(url)) {
        if (seen.has(specifier)) continue;
        seen.add(specifier);
        if (specifier.startsWith('.')) queue.push(new URL(specifier, url));
      }
    }
    t.same(
      [...seen].filter((specifier) => !specifier.startsWith('.') && specifier !== 'node:crypto'),
      [],
      name,
    );
  }
});
