/** Packs as the link carries them and as the store keeps them: the same bytes (protos/link.proto, Pack). */
import type { Bytes } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Pack } from '#kernel/receipts.ts';
import { farfield } from '#protos/generated/link.js';

export function packBytes(pack: Pack): Bytes {
  return farfield.Pack.encode(pack).finish();
}

export function unpackPack(bytes: Bytes): Pack {
  try {
    return farfield.Pack.decode(bytes);
  } catch (cause) {
    throw new FarfieldError('E_INTERNAL', 'a stored pack cannot be read', { cause });
  }
}
