/**
 * A ledger from a backup does not know what ran since. A new epoch makes that harmless: what was signed before it is refused,
 * and the broker marks what it had admitted here as lost.
 */
import { lockFolder } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type LedgerEpoch, openLedger } from '../admission/ledger.ts';
import type { AgentFolder } from '../identity/folder.ts';

/** Refused while the agent runs: it would go on under the old one. */
export async function renewLedgerEpoch(folder: AgentFolder, nowS: number): Promise<LedgerEpoch> {
  using _lock = lockFolder(folder.root);
  await using ledger = await openLedger({ file: folder.ledger });
  const result = await ledger.submit({ kind: 'newEpoch', since: nowS });
  if (result.kind !== 'epoch') throw new FarfieldError('E_INTERNAL', `a new epoch was answered with ${result.kind}`);
  return result.epoch;
}
