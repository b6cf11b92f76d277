/**
 * Keeps one live session: dials, serves, waits, dials again.
 *
 * Invariants
 *  V1 Outcomes are data: served, retryable, fatal. Only a fatal one, or the owner's signal, ends the supervisor.
 *  V2 The back-off resets after HELD_MS of a held session, never on connect: a peer that accepts and drops at once must
 *     not be dialled in a tight loop.
 *  V3 At most one session lives at a time, and a new one starts only after `serve` of the old one returned.
 *  V4 What the peer asks for as a pause (`retryAfterS`) is honoured, at least.
 */

import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import { BACKOFF, type BackoffOptions, createBackoff } from './backoff.ts';
import { DIAL_TIMEOUT_MS, type Dialler, type Link } from './seam.ts';
import type { Dialect, Session, SessionEnd } from './session.ts';

/** A session that lived this long was a real one. */
export const HELD_MS = 5000;

export type LinkOutcome =
  | { readonly kind: 'served'; readonly heldMs: number; readonly end: SessionEnd }
  | { readonly kind: 'retryable'; readonly code: ErrorCode; readonly reason: string; readonly retryAfterMs: number }
  | { readonly kind: 'fatal'; readonly code: ErrorCode; readonly reason: string };

/** Codes after which dialling again can only repeat the answer: a person has to do something first. */
export const FATAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'E_VERSION',
  'E_FENCED',
  'E_FORBIDDEN',
  'E_UNAUTHENTICATED',
  'E_UNTRUSTED',
  'E_ENDPOINT_UNKNOWN',
  'E_ENROLMENT',
  'E_REVOKED',
  'E_AUDIENCE',
  'E_KEY_WEAK',
  'E_TOKEN_SIGNATURE',
  'E_TOKEN_CLAIMS',
  'E_TOKEN_FORM',
  'E_TOKEN_HEADER',
  'E_TOKEN_TYP',
]);

export type LinkState =
  | { readonly kind: 'dialling'; readonly via: string }
  | { readonly kind: 'live'; readonly via: string; readonly remote: string }
  | { readonly kind: 'waiting'; readonly ms: number; readonly failures: number; readonly reason: string };

export interface SupervisorOptions<M extends Dialect, C extends { session: Session<M> }> {
  /** Tried in order within one attempt; the one that worked last is tried first. */
  readonly diallers: readonly Dialler[];
  /** The handshake (dialSession with this side's callbacks). */
  connect(link: Link): Promise<C>;
  /** Lives with a session until it ends. Must call session.serve and return its end. */
  serve(connected: C): Promise<SessionEnd>;
  readonly clock: Clock;
  readonly random: Random;
  readonly backoff?: BackoffOptions;
  readonly heldMs?: number;
  readonly dialTimeoutMs?: number;
  onState?(state: LinkState): void;
  onOutcome?(outcome: LinkOutcome): void;
  /** What a refusal means to this owner; undefined leaves it to the default. A pilot treats nothing but its end as fatal. */
  isFatal?(code: ErrorCode): boolean;
}

/** Resolves with the fatal outcome, or undefined when the signal ended it. */
export async function superviseLink<M extends Dialect, C extends { session: Session<M> }>(
  options: SupervisorOptions<M, C>,
  signal: AbortSignal,
): Promise<Extract<LinkOutcome, { kind: 'fatal' }> | undefined> {
  const { clock } = options;
  const backoff = createBackoff(options.random, options.backoff ?? BACKOFF);
  const order = [...options.diallers];
  while (!signal.aborted) {
    const outcome = await attempt(options, order, signal);
    if (signal.aborted) return undefined;
    options.onOutcome?.(outcome);
    let askedMs = 0;
    switch (outcome.kind) {
      case 'fatal':
        return outcome;
      case 'served':
        if (outcome.heldMs >= (options.heldMs ?? HELD_MS)) backoff.reset();
        break;
      case 'retryable':
        askedMs = outcome.retryAfterMs;
        break;
    }
    const ms = Math.max(backoff.next(), askedMs);
    options.onState?.({ kind: 'waiting', ms, failures: backoff.failures, reason: reasonOf(outcome) });
    // Aborted while it waited: the loop's condition says the rest.
    await clock.sleep(ms, signal).catch(() => {});
  }
  return undefined;
}

function reasonOf(outcome: LinkOutcome): string {
  if (outcome.kind !== 'served') return outcome.reason;
  return outcome.end.kind === 'bye' ? `${outcome.end.code}: ${outcome.end.message}` : outcome.end.reason;
}

/** One round over the diallers, up to the first link, and its whole life. */
async function attempt<M extends Dialect, C extends { session: Session<M> }>(
  options: SupervisorOptions<M, C>,
  order: Dialler[],
  signal: AbortSignal,
): Promise<LinkOutcome> {
  const failed: string[] = [];
  for (const dialler of [...order]) {
    if (signal.aborted) break;
    options.onState?.({ kind: 'dialling', via: dialler.name });
    let link: Link;
    try {
      link = await dialWithin(dialler, options, signal);
    } catch (reason) {
      failed.push(`${dialler.name}: ${FarfieldError.from(reason).message}`);
      continue;
    }
    let connected: C;
    try {
      connected = await options.connect(link);
    } catch (reason) {
      link.close('the handshake failed');
      const error = FarfieldError.from(reason);
      // A refusal is the peer's word on any transport; only a link that broke is worth the next dialler.
      if (error.code !== 'E_UNAVAILABLE' && error.code !== 'E_TIMEOUT') return refusal(options, error);
      failed.push(`${dialler.name}: ${error.message}`);
      continue;
    }
    prefer(order, dialler);
    return live(options, dialler, connected, signal);
  }
  return { kind: 'retryable', code: 'E_UNAVAILABLE', reason: failed.join('; ') || 'given up', retryAfterMs: 0 };
}

function refusal<M extends Dialect, C extends { session: Session<M> }>(
  options: SupervisorOptions<M, C>,
  error: FarfieldError,
): LinkOutcome {
  const fatal = options.isFatal?.(error.code) ?? FATAL.has(error.code);
  if (fatal) return { kind: 'fatal', code: error.code, reason: error.message };
  return { kind: 'retryable', code: error.code, reason: error.message, retryAfterMs: (error.retryAfterS ?? 0) * 1000 };
}

async function live<M extends Dialect, C extends { session: Session<M> }>(
  options: SupervisorOptions<M, C>,
  dialler: Dialler,
  connected: C,
  signal: AbortSignal,
): Promise<LinkOutcome> {
  const { session } = connected;
  options.onState?.({ kind: 'live', via: dialler.name, remote: session.remote });
  const since = options.clock.mono();
  const stop = (): void => session.close('E_UNAVAILABLE', 'this side stops');
  signal.addEventListener('abort', stop, { once: true });
  try {
    const end = await options.serve(connected);
    if (end.kind === 'bye' && end.by === 'peer') {
      const error = new FarfieldError(end.code, end.message, { retryAfterS: end.retryAfterS });
      const outcome = refusal(options, error);
      // A polite goodbye after a real session (a broker that restarts) is no failure.
      if (outcome.kind === 'fatal' || end.retryAfterS > 0) return outcome;
    }
    return { kind: 'served', heldMs: options.clock.mono() - since, end };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function dialWithin<M extends Dialect, C extends { session: Session<M> }>(
  dialler: Dialler,
  options: SupervisorOptions<M, C>,
  signal: AbortSignal,
): Promise<Link> {
  const limit = new AbortController();
  const timer = options.clock.after(options.dialTimeoutMs ?? DIAL_TIMEOUT_MS, () => limit.abort());
  return dialler.dial(AbortSignal.any([signal, limit.signal])).finally(() => timer.cancel());
}

function prefer(order: Dialler[], dialler: Dialler): void {
  order.splice(order.indexOf(dialler), 1);
  order.unshift(dialler);
}

export type LinkChoice = 'grpc' | 'ws' | 'auto';

/** The dial list of a configuration: one transport, or gRPC and then WebSocket, which passes more proxies. */
export function chooseDiallers(choice: LinkChoice, make: { grpc(): Dialler; ws(): Dialler }): Dialler[] {
  if (choice === 'grpc') return [make.grpc()];
  if (choice === 'ws') return [make.ws()];
  return [make.grpc(), make.ws()];
}
