/**
 * `fake`: faults on demand, for the tests of whatever starts a runner. Selectable only by its name; no model or function of
 * a catalogue leads here.
 *
 * The one argument is JSON: {"do": "echo" | "sleep" | "throw" | "exit" | "allocate" | "setsid" | "print" | "reject", ...}
 */
import { spawn } from 'node:child_process';
import type { Clock } from '#base/clock.ts';
import { fromUtf8, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Call, CallAdapter, CallResult } from './adapter.ts';
import { pause } from './noop.ts';

interface Fault {
  readonly do?: string;
  readonly ms?: number;
  readonly code?: number;
  readonly signal?: NodeJS.Signals;
  readonly bytes?: number;
  readonly text?: string;
}

/** What it allocates stays allocated until `close`, so that memory limits can be met. */
export function createFake(clock: Clock): CallAdapter {
  const kept: Buffer[] = [];
  let calls = 0;
  return {
    probe: async () => ({ adapter: 'fake', devices: [], versions: {} }),
    async load({ entry }) {
      if (entry.failLoad === true) throw new FarfieldError('E_MODEL', 'the fake was told to fail its load');
      return {};
    },
    async infer(call) {
      calls++;
      return text(await act(clock, call, faultOf(call), kept));
    },
    stats: () => ({ calls }),
    close: async () => {},
  };
}

/** What the item asks for; nothing at all is an echo. */
function faultOf(call: Call): Fault {
  const bytes = call.args[0]?.bytes;
  return bytes === undefined ? {} : (JSON.parse(fromUtf8(bytes)) as Fault);
}

/** Does it. `exit` and `allocate` are meant to kill the runner: that is what they test. */
async function act(clock: Clock, call: Call, fault: Fault, kept: Buffer[]): Promise<string> {
  switch (fault.do) {
    case undefined:
    case 'echo':
      return fault.text ?? 'ok';
    case 'sleep':
      await pause(clock, call, fault.ms ?? 0);
      return 'slept';
    case 'throw':
      throw new Error(fault.text ?? 'thrown by the fake');
    case 'reject':
      throw new FarfieldError('E_FUNCTION', fault.text ?? 'refused by the fake');
    case 'exit':
      if (fault.signal !== undefined) process.kill(process.pid, fault.signal);
      return process.exit(fault.code ?? 1);
    case 'allocate':
      // Touched, so that it is resident and not only promised.
      kept.push(Buffer.alloc(fault.bytes ?? 0, 1));
      return `${kept.length}`;
    case 'print':
      console.log(fault.text ?? 'a print on stdout');
      return 'printed';
    case 'setsid': {
      // A child in its own session, which outlives us unless somebody walks the tree.
      const child = spawn('sleep', [String((fault.ms ?? 60_000) / 1000)], { detached: true, stdio: 'ignore' });
      child.unref();
      return String(child.pid);
    }
    default:
      throw new FarfieldError('E_INPUT', `the fake does not know ${JSON.stringify(fault.do)}`);
  }
}

function text(value: string): CallResult {
  return { type: 'bytes', value: { at: 'inline', bytes: utf8(value) } };
}
