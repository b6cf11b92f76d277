/**
 * The ledger on a full disk.
 *
 * Invariants
 *  F1 What has begun must end: leases, returns and outcomes are tried again until there is room. Their pilots are not
 *     acknowledged meanwhile, so nothing is lost.
 *  F2 What has not begun is refused at once: the broker keeps it, and delivers again when credit comes back.
 *  F3 Room is believed only after a write of some size went through: a small update succeeds on a full disk.
 */
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Ledger, LedgerCommand, LedgerResult } from './ledger.ts';

/** Often enough that nobody waits long after an admin made room, seldom enough that a full disk is not hammered. */
const AGAIN_MS = 2000;

const MAY_WAIT: ReadonlySet<LedgerCommand['kind']> = new Set([
  'lease',
  'return',
  'end',
  'packsAcked',
  'packsAgain',
  'savePilot',
  'dropPilot',
  'meta',
  'newEpoch',
  'usage',
  'purge',
]);

export interface PatientOptions {
  readonly clock: Clock;
  /** The ledger stopped growing: withdraw credit, and say why. */
  readonly onFull: (why: string) => void;
  readonly onRoom: () => void;
}

export function patientLedger(ledger: Ledger, options: PatientOptions): Ledger {
  const { clock, onFull, onRoom } = options;
  const closing = new AbortController();
  let full = false;

  const probe = async (): Promise<void> => {
    while (full) {
      await clock.sleep(AGAIN_MS, closing.signal);
      const room = await ledger.submit({ kind: 'probe' }).then(
        () => true,
        () => false,
      );
      if (!room) continue;
      full = false;
      onRoom();
    }
  };

  /** True if the failure is one of room or queue, which passes. */
  const passes = (reason: unknown): boolean => {
    const { code, message } = FarfieldError.from(reason);
    if (code === 'E_BUSY') return true;
    if (code !== 'E_DISK_FULL') return false;
    if (!full) {
      full = true;
      onFull(message);
      // Ends with the ledger: the abort is its only failure.
      probe().catch(() => undefined);
    }
    return true;
  };

  const submit = async (command: LedgerCommand): Promise<LedgerResult> => {
    for (;;) {
      try {
        return await ledger.submit(command);
      } catch (reason) {
        if (!passes(reason) || !MAY_WAIT.has(command.kind)) throw reason;
      }
      await clock.sleep(AGAIN_MS, closing.signal);
    }
  };

  const close = async (): Promise<void> => {
    closing.abort(new FarfieldError('E_UNAVAILABLE', 'the ledger is closed: this agent is ending'));
    await ledger.close();
  };

  return {
    submit,
    query: (query) => ledger.query(query),
    rest: () => ledger.rest(),
    close,
    stats: () => ledger.stats(),
    ended: ledger.ended,
    [Symbol.asyncDispose]: close,
  };
}
