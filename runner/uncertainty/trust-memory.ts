/**
 * What verdicts in a row say together: a bad job is believed at once, a good one after three.
 *
 * Invariants
 *  M1 The state rises with the first worse job, and falls after CLEAN_JOBS better ones in a row, to the worst of those.
 *  M2 A job that could not be judged (UNKNOWN) changes nothing.
 *  M3 An audit alarm that comes twice running is NOT_TRUSTED: once it is chance in one of a hundred audits.
 */
import type { Trust, TrustState } from './verdict.ts';

const CLEAN_JOBS = 3;
const RANK: Readonly<Record<TrustState, number>> = { UNKNOWN: -1, TRUSTED: 0, WATCH: 1, NOT_TRUSTED: 2 };

export interface TrustMemory {
  readonly state: TrustState;
  /** Better jobs since the last that was not. */
  readonly better: readonly TrustState[];
  readonly alarmed: boolean;
}

export const NO_MEMORY: TrustMemory = { state: 'UNKNOWN', better: [], alarmed: false };

/** The memory after one more job, and that job's own state with M3 applied. */
export function remember(memory: TrustMemory, { state, reasons }: Trust): TrustMemory {
  if (state === 'UNKNOWN') return memory;
  const alarmed = reasons.some(({ code }) => code === 'audit');
  const now = alarmed && memory.alarmed ? 'NOT_TRUSTED' : state;
  if (RANK[now] >= RANK[memory.state]) return { state: now, better: [], alarmed };
  const better = [...memory.better, now];
  if (better.length < CLEAN_JOBS) return { state: memory.state, better, alarmed };
  const worst = better.reduce((a, b) => (RANK[a] >= RANK[b] ? a : b));
  return { state: worst, better: [], alarmed };
}

/** For metrics: -1 not known, 0 trusted, 1 watch, 2 not trusted. */
export const trustRank = ({ state }: TrustMemory): number => RANK[state];
