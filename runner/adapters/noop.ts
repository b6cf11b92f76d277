/**
 * `noop`: answers bytes that depend on the arguments, computes nothing else. It measures the path of an invocation, and a
 * client can check that the answer belongs to its arguments.
 *
 *     digest = SHA-256(argument bytes, in order);  answer = SHA-256(digest || u32be 0) || SHA-256(digest || u32be 1) || ...
 *
 * cut to `entry.outBytes` (100). `entry.sleepMs` (0) delays each answer.
 */

import { hash } from 'node:crypto';
import type { Clock } from '#base/clock.ts';
import { concat } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Call, CallAdapter, CallResult } from './adapter.ts';

const DEFAULT_OUT_BYTES = 100;
const MAX_OUT_BYTES = 64 * 1024 * 1024;
const HASH_BYTES = 32;

/** Answers at once, within the same event-loop turn, unless told to sleep. */
export function createNoop(clock: Clock): CallAdapter {
  let outBytes = DEFAULT_OUT_BYTES;
  let sleepMs = 0;
  let calls = 0;
  return {
    probe: async () => ({ adapter: 'noop', devices: ['cpu'], versions: {} }),
    async load({ entry }) {
      outBytes = numberOf(entry, 'outBytes', DEFAULT_OUT_BYTES, MAX_OUT_BYTES);
      sleepMs = numberOf(entry, 'sleepMs', 0, 2 ** 31 - 1);
      return {};
    },
    infer(call) {
      calls++;
      const result = (): CallResult => ({ type: 'bytes', value: { at: 'inline', bytes: noopAnswer(call, outBytes) } });
      return sleepMs === 0 ? result() : pause(clock, call, sleepMs).then(result);
    },
    stats: () => ({ calls }),
    close: async () => {},
  };
}

/** A non-negative whole number of the function's entry. */
export function numberOf(entry: Readonly<Record<string, unknown>>, key: string, fallback: number, max: number): number {
  const value = entry[key] ?? fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new FarfieldError('E_MANIFEST', `entry.${key} must be a whole number from 0 to ${max}`);
}

/** Digests are taken as Latin-1 text and written into place: asked for as a Buffer, each costs 2 us more (0.6 against 2.7). */
function noopAnswer(call: Call, outBytes: number): Uint8Array {
  const seeded = Buffer.allocUnsafe(HASH_BYTES + 4);
  seeded.write(hash('sha256', argsBytes(call), 'binary'), 0, HASH_BYTES, 'latin1');
  const answer = Buffer.allocUnsafe(outBytes);
  for (let at = 0, counter = 0; at < outBytes; at += HASH_BYTES, counter++) {
    seeded.writeUInt32BE(counter, HASH_BYTES);
    answer.write(hash('sha256', seeded, 'binary'), at, Math.min(HASH_BYTES, outBytes - at), 'latin1');
  }
  return answer;
}

/** All arguments, in order, as one. */
function argsBytes(call: Call): Uint8Array {
  const parts = call.args.map(({ arg, bytes }) => {
    if (bytes === undefined)
      throw new FarfieldError('E_INPUT', `argument ${arg.name}: noop takes inline arguments alone`);
    return bytes;
  });
  return parts.length === 1 ? (parts[0] as Uint8Array) : concat(parts);
}

/** Waits, or ends at once with E_CANCELLED when the call is cancelled. */
export function pause(clock: Clock, call: Call, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, resolve);
    call.onCancel = () => {
      timer.cancel();
      reject(new FarfieldError('E_CANCELLED', 'cancelled while it waited'));
    };
  });
}
