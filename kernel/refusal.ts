/** Refusals as values: which step of a check said no, with which code, and why. */
import { type ErrorCode, FarfieldError } from './errors.ts';

export interface Refusal {
  readonly code: ErrorCode;
  /** For people: what was refused and what to do next. */
  readonly message: string;
  /** The step of the verification order that refused (docs/security.md). */
  readonly step: string;
}

export function refusal(step: string, code: ErrorCode, message: string): Refusal {
  return { code, message, step };
}

/** Runs a step that throws; its FarfieldError becomes a refusal, anything else is a defect and goes on. */
export function tryStep<T>(step: string, run: () => T): { ok: true; value: T } | { ok: false; refusal: Refusal } {
  try {
    return { ok: true, value: run() };
  } catch (reason) {
    if (!(reason instanceof FarfieldError)) throw reason;
    return { ok: false, refusal: refusal(step, reason.code, reason.message) };
  }
}
