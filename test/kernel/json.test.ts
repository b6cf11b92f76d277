import fc from 'fast-check';
import t from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import { parseStrict } from '#kernel/json.ts';

const refused = (text: string | Uint8Array): string => {
  try {
    parseStrict(text);
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason.code;
    throw reason;
  }
  return 'accepted';
};

t.test('a key written twice is refused, however it is spelt and however deep', async (t) => {
  for (const text of [
    '{"aud":1,"aud":2}',
    '{"aud":1,"\\u0061ud":2}',
    '[{"a":{"b":1,"b":1}}]',
    '{"":1,"":2}',
    '{"a":":","a":1}',
  ]) {
    t.equal(refused(text), 'E_TOKEN_FORM', text);
  }
});

t.test('colons, braces and quotes inside strings are text', async (t) => {
  const value = { 'a:b': '{"x":1,"x":2}', 'q"': '\\":', c: [':', { d: '\\' }] };
  t.same(parseStrict(JSON.stringify(value)), value);
});

t.test('bytes that are not well-formed UTF-8 are refused', async (t) => {
  t.equal(refused(Buffer.from([0x22, 0xff, 0x22])), 'E_TOKEN_FORM', 'a stray byte');
  t.equal(refused(Buffer.from([0x22, 0xc0, 0x80, 0x22])), 'E_TOKEN_FORM', 'an overlong form');
  t.equal(refused(Buffer.from('\ufeff{}')), 'E_TOKEN_FORM', 'a byte order mark');
  t.equal(refused(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), 'E_TOKEN_FORM', 'a surrogate');
});

t.test('half a character, an overflowing number and a __proto__ key are refused', async (t) => {
  for (const text of ['"\\ud800"', '{"\\udc00":1}', '1e999', '{"__proto__":{}}', '{"a":[{"\\u005f_proto__":1}]}']) {
    t.equal(refused(text), 'E_TOKEN_FORM', text);
  }
});

t.test('nesting deeper than 32 is refused before the parser sees it', async (t) => {
  const nest = (n: number): string => '['.repeat(n) + ']'.repeat(n);
  t.equal(refused(nest(32)), 'accepted');
  t.equal(refused(nest(33)), 'E_TOKEN_FORM');
  t.equal(refused('['.repeat(1_000_000)), 'E_TOKEN_FORM');
});

t.test('text that is not JSON is refused with the code that the caller chose', async (t) => {
  t.throws(() => parseStrict('{', 'E_RECEIPT'), { code: 'E_RECEIPT' });
  t.throws(() => parseStrict('', 'E_ITEMS'), { code: 'E_ITEMS' });
  t.throws(() => parseStrict('"abc', 'E_ITEMS'), { code: 'E_ITEMS' });
});

t.test('whatever JSON.stringify writes is read back as JSON.parse reads it', async (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 8 }), (value) => {
      const text = JSON.stringify(value);
      // Keys that J1 refuses are the only difference.
      if (text.includes('__proto__') || !text.isWellFormed() || /\\ud[89a-f]/i.test(text)) return true;
      return JSON.stringify(parseStrict(text)) === JSON.stringify(JSON.parse(text));
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('a member repeated anywhere in a document is found', async (t) => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ minLength: 1 }), fc.jsonValue({ maxDepth: 3 }), { minKeys: 1 }),
      fc.nat(),
      (object, pick) => {
        const keys = Object.keys(object);
        const key = keys[pick % keys.length] ?? '';
        const body = keys.map((k) => `${JSON.stringify(k)}:${JSON.stringify(object[k])}`);
        return refused(`{${[...body, `${JSON.stringify(key)}:0`].join(',')}}`) === 'E_TOKEN_FORM';
      },
    ),
    { numRuns: 1000 },
  );
  t.pass();
});
