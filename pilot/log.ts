/**
 * The pilot's own log: one JSON line an event on stderr, which its starter appends to a file.
 *
 * Not pino: it would double the pilot's start and memory for the few lines that a pilot writes in its life.
 */
import { FarfieldError } from '#kernel/errors.ts';

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface PilotLogger {
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(reason: unknown, message: string): void;
}

export function createPilotLogger(write: (line: string) => void, now: () => number): PilotLogger {
  const line = (level: string, fields: LogFields, msg: string): void => {
    write(`${JSON.stringify({ level, time: new Date(now()).toISOString(), name: 'pilot', ...fields, msg })}\n`);
  };
  return {
    info: (fields, message) => line('info', fields, message),
    warn: (fields, message) => line('warn', fields, message),
    error(reason, message) {
      const error = FarfieldError.from(reason);
      line('error', { code: error.code, error: error.message, stack: error.stack }, message);
    },
  };
}
