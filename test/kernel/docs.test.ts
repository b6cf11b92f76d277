import { readFileSync } from 'node:fs';
import t from 'tap';
import { DOCUMENTS, render } from '../../scripts/docs.ts';

t.test('the tables in the documents are those of the code (scripts/docs.ts writes them)', async (t) => {
  for (const url of DOCUMENTS) {
    const text = readFileSync(url, 'utf8');
    t.equal(render(text), text, url.pathname);
    t.match(text, /<!-- begin \w+ -->\n[\s\S]{500,}/, 'and there are some');
  }
});
