/**
 * Rows that runners predicted, for the site's account: read from packs on their way into the ledger.
 *
 * Rows are the runner's claim (`rep.summary.rows` of a receipt): nobody measures them, and no ceiling looks at them. Here and not
 * where items end, since the pack is what was signed; a pack that the ledger refused counts nothing.
 */
import { fromUtf8 } from '#kernel/bytes.ts';
import { parseToken } from '#kernel/jws.ts';
import type { Detail } from '#kernel/receipts.ts';
import { farfield } from '#protos/generated/link.js';
import type { Work } from '../work/mirror.ts';
import type { Ledger } from './ledger.ts';

export interface RowsOptions {
  /** A ticket that is open, by its id. */
  readonly find: (id: string) => Work | undefined;
  readonly add: (work: Work, block: string, rows: number) => void;
}

/** How a detail with rows begins them; a pack without any is searched and not taken apart. */
const MARK = Buffer.from('"rows":');

export function countRows(ledger: Ledger, options: RowsOptions): Ledger {
  return {
    async submit(command) {
      const result = await ledger.submit(command);
      // Before whoever waits for the commit hears of it: then the work of a ticket that has ended is forgotten.
      if (command.kind === 'end' && result.kind === 'ended') count(command.pack, options);
      return result;
    },
    query: (query) => ledger.query(query),
    rest: () => ledger.rest(),
    close: () => ledger.close(),
    stats: () => ledger.stats(),
    ended: ledger.ended,
    [Symbol.asyncDispose]: () => ledger.close(),
  };
}

function count(bytes: Uint8Array, { find, add }: RowsOptions): void {
  if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(MARK)) return;
  const pack = farfield.Pack.decode(bytes);
  const rows = pack.details.map((detail) => rowsOf(JSON.parse(fromUtf8(detail)) as Detail));
  const { meas } = parseToken('farfield-receipts+jwt', pack.receipts).claims;
  for (const ticket of pack.tickets) {
    const work = find(ticket.id);
    if (work === undefined) continue;
    for (const k of ticket.items.keys()) {
      const found = rows[ticket.detail[k] ?? -1] ?? 0;
      if (found > 0) add(work, meas[ticket.meas[k] ?? -1]?.block ?? '', found);
    }
  }
}

/** Whatever is no count counts nothing: a runner may say what it likes. */
function rowsOf({ rep }: Detail): number {
  const { rows } = (rep?.summary ?? {}) as { readonly rows?: unknown };
  return typeof rows === 'number' && Number.isSafeInteger(rows) && rows > 0 ? rows : 0;
}
