import t from 'tap';
import {
  bitString,
  boolean,
  explicit,
  implicit,
  integer,
  octetString,
  oid,
  sequence,
  time,
  utf8String,
} from '#base/der.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// From X.690 and RFC 5280, worked out by hand.
const CASES: [string, Uint8Array, string][] = [
  ['a boolean', boolean(true), '0101ff'],
  ['an integer in its shortest form', integer(Uint8Array.of(0, 0, 5)), '020105'],
  ['an integer whose top bit would say minus', integer(Uint8Array.of(0x80)), '02020080'],
  ['zero', integer(Uint8Array.of(0)), '020100'],
  ['an object identifier', oid('1.2.840.10045.4.3.2'), '06082a8648ce3d040302'],
  ['text', utf8String('µ'), '0c02c2b5'],
  ['bits with unused ones', bitString(Uint8Array.of(0x06), 1), '03020106'],
  ['a sequence', sequence(boolean(false), octetString(Uint8Array.of(1))), '3006010100040101'],
  ['an explicit tag', explicit(3, integer(Uint8Array.of(2))), 'a303020102'],
  ['an implicit tag', implicit(2, Buffer.from('a')), '820161'],
  ['a year before 2050', time(Date.UTC(2026, 0, 2, 3, 4, 5, 678)), `170d${hex(Buffer.from('260102030405Z'))}`],
  ['a year from 2050 on', time(Date.UTC(2050, 0, 1)), `180f${hex(Buffer.from('20500101000000Z'))}`],
];

for (const [name, bytes, expected] of CASES) {
  t.test(`${name} is written as the standard says`, async (t) => t.equal(hex(bytes), expected));
}

t.test('lengths take as few bytes as they need', async (t) => {
  const head = (n: number): string =>
    hex(octetString(new Uint8Array(n)).subarray(0, 5)).slice(0, n < 128 ? 4 : n < 256 ? 6 : 8);
  t.strictSame([127, 128, 255, 256, 65_535].map(head), ['047f', '048180', '0481ff', '04820100', '0482ffff']);
});
