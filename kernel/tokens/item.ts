/** The body of one item of a batch: read once from exactly the bytes that its leaf binds. */
import type { Bytes } from '../bytes.ts';
import { FarfieldError } from '../errors.ts';
import { parseStrict } from '../json.ts';
import { reservedField } from '../jws.ts';
import { MAX_ITEM_BYTES } from '../limits.ts';
import { check } from '../schema.ts';
import { ItemBody } from './claims.ts';

/** The arguments and seed of item `i`; throws E_ITEMS for anything that the closed schema does not allow. */
export function openItem(i: number, bytes: Bytes): ItemBody {
  if (bytes.byteLength > MAX_ITEM_BYTES) {
    throw new FarfieldError('E_TOO_LARGE', `item ${i} is ${bytes.byteLength} bytes, over ${MAX_ITEM_BYTES}`);
  }
  const value = parseStrict(bytes, 'E_ITEMS');
  const checked = check(ItemBody, value);
  if (checked.ok) return checked.value;
  const reserved = reservedField(value);
  if (reserved !== undefined)
    throw new FarfieldError('E_TOKEN_RESERVED', `item ${i}: ${reserved} is reserved for a later version`);
  throw new FarfieldError('E_ITEMS', `item ${i}: ${checked.path} ${checked.message}`);
}
