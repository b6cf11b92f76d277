/**
 * When a pilot's job ends, and what it does before.
 *
 * Invariants
 *  W1 The job script says the end (FARFIELD_ENDS_AT, by this node's clock), so a warning that the scheduler does not send, or
 *     that a launcher loses, is not missed.
 *  W2 From `warnMs` before the end nothing new is taken and what was not started is handed back; what runs may go on until
 *     REPORT_MS before the end, so that its outcome still leaves.
 *  W3 A job that is shorter than its own warning still works for three quarters of its time.
 */

export interface Walltime {
  /** Of this node's wall clock. */
  readonly endsAtMs: number;
  readonly warnMs: number;
}

const DEFAULT_WARN_S = 60;
/** A killed process tree and the last outcomes need about a second; a busy node some. */
export const REPORT_MS = 5000;
/**
 * After a signal well before the end (a cancel, a preemption): PBS kills 10 s after its TERM unless the site changed that,
 * Slurm 30 s, Flux 5 s. What runs has this long, the rest is for the outcomes.
 */
export const SIGNAL_GRACE_MS = 4000;
/** Schedulers send a warning up to a minute early. */
const EARLY_MS = 90_000;

export function readWalltime(env: Readonly<Record<string, string | undefined>>, nowMs: number): Walltime | undefined {
  const endsAtMs = Number(env.FARFIELD_ENDS_AT) * 1000;
  if (!Number.isSafeInteger(endsAtMs) || endsAtMs <= 0) return undefined;
  const warnS = Number(env.FARFIELD_WARN_S);
  const asked = (Number.isInteger(warnS) && warnS > 0 ? warnS : DEFAULT_WARN_S) * 1000;
  return { endsAtMs, warnMs: Math.min(asked, Math.max(0, endsAtMs - nowMs) / 4) };
}

/** How long what runs may go on after the scheduler's signal. `inJob`: somebody will kill us soon after it. */
export function graceAfterSignal(walltime: Walltime | undefined, inJob: boolean, nowMs: number): number {
  if (!inJob) return 0;
  if (walltime === undefined) return SIGNAL_GRACE_MS;
  const leftMs = walltime.endsAtMs - nowMs;
  // The warning of the walltime, or somebody who does not wait for it.
  return leftMs <= walltime.warnMs + EARLY_MS ? Math.max(0, leftMs - REPORT_MS) : SIGNAL_GRACE_MS;
}
