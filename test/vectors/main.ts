/** Writes vectors.json anew: `scripts/node.sh test/vectors/main.ts`. A change there is a change of the format. */
import { writeFileSync } from 'node:fs';
import { buildVectors } from './vectors.ts';

writeFileSync(new URL('./vectors.json', import.meta.url), `${JSON.stringify(buildVectors(), null, 2)}\n`);
