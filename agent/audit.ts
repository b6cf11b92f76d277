/**
 * The audit log: who was admitted or refused, what was cancelled, which jobs ran for whom, and what an admin did. One JSON line
 * each, in a 0600 file of the endpoint's folder.
 *
 * Invariants
 *  A1 Lines are whole and in order: one writer at a time appends them, and a rotation is a rename between two lines.
 *  A2 No secret and no token: ids, names, digests and reasons only.
 *  A3 Lines of one turn of the event loop are one write: a thousand admissions a second cost some writes a second.
 *  A4 A line that cannot be written is told in the log and stops no work: the ledger is what proves, this is what people read.
 */
import { appendFileSync, renameSync, statSync } from 'node:fs';
import { type Static, Type as T } from 'typebox';
import type { Clock } from '#base/clock.ts';
import { type Logger, withoutSecrets } from '#base/log.ts';

export const AuditShape = T.Object(
  {
    maxMiB: T.Optional(T.Integer({ minimum: 1, maximum: 4096, description: 'of one file of the audit log' })),
    keep: T.Optional(
      T.Integer({ minimum: 1, maximum: 100, description: 'older files that are kept: audit.log.1 and so on' }),
    ),
  },
  { additionalProperties: false, description: 'the audit log, audit.log in the endpoint folder' },
);
export type AuditConfig = Static<typeof AuditShape>;

export interface ResolvedAudit {
  readonly maxBytes: number;
  readonly keep: number;
}

const MiB = 1024 * 1024;
/** A year of a busy endpoint: 300 bytes a line, some hundred thousand decisions. */
const DEFAULTS = { maxMiB: 64, keep: 8 } as const;

export function resolveAudit(config: AuditConfig = {}): ResolvedAudit {
  return { maxBytes: (config.maxMiB ?? DEFAULTS.maxMiB) * MiB, keep: config.keep ?? DEFAULTS.keep };
}

export const AUDIT_EVENTS = [
  'admitted',
  'refused',
  'cancelled',
  'grant',
  'deny',
  'block-submitted',
  'block-ended',
  'drain',
  'resume',
  'reload',
  'start',
  'stop',
  'leave',
] as const;
export type AuditEvent = (typeof AUDIT_EVENTS)[number];

export type AuditFields = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

export interface Audit extends Disposable {
  note(event: AuditEvent, fields: AuditFields): void;
  /** Writes what was noted; for the end of the process. */
  flush(): void;
}

export interface AuditOptions {
  readonly file: string;
  /** The defaults where a verb knows no better: only its own lines are written by it. */
  readonly config: Partial<ResolvedAudit>;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Pick<Logger, 'error'>;
}

function rotate(file: string, keep: number): void {
  for (let k = keep - 1; k >= 0; k--) {
    const from = k === 0 ? file : `${file}.${k}`;
    if (statSync(from, { throwIfNoEntry: false }) !== undefined) renameSync(from, `${file}.${k + 1}`);
  }
}

export function auditLine(atMs: number, event: AuditEvent, fields: AuditFields): string {
  const clean = Object.entries(fields).map(([key, value]) => [
    key,
    typeof value === 'string' ? withoutSecrets(value) : value,
  ]);
  return `${JSON.stringify({ at: new Date(atMs).toISOString(), event, ...Object.fromEntries(clean) })}\n`;
}

export function openAudit(options: AuditOptions): Audit {
  const { file, config, clock, log } = options;
  const { maxBytes, keep } = { ...resolveAudit(), ...config };
  let lines: string[] = [];
  const flush = (): void => {
    if (lines.length === 0) return;
    const text = lines.join('');
    lines = [];
    try {
      const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
      if (size > 0 && size + text.length > maxBytes) rotate(file, keep);
      appendFileSync(file, text, { mode: 0o600 });
    } catch (reason) {
      log.error({ err: reason, lost: text.split('\n').length - 1 }, 'lines of the audit log could not be written');
    }
  };
  return {
    note(event, fields) {
      lines.push(auditLine(clock.now(), event, fields));
      if (lines.length === 1) setImmediate(flush);
    },
    flush,
    [Symbol.dispose]: flush,
  };
}
