/**
 * Tells systemd how this service is: ready, stopping, alive, and one line of status.
 *
 * NOTIFY_SOCKET is a datagram socket, and Node has none of the Unix kind. So systemd's own `systemd-notify` says it, which is
 * wherever systemd is; units need `NotifyAccess=all`, for the message comes from a child of the service. Rejected: a native
 * module (one more binary for each platform, to send 8 bytes), and Python (not on every machine, 20 ms of start each).
 *
 * Invariants
 *  Y1 Without NOTIFY_SOCKET nothing is started and nothing costs anything.
 *  Y2 systemd before 246 drops a message whose sender has ended before it was read. So READY is part of every message; a
 *     service that is ready already does not mind.
 *  Y3 A message that cannot be sent is logged once and stops nothing: systemd then ends a service that it takes for dead.
 */
import { spawn } from 'node:child_process';
import type { Clock, Timer } from './clock.ts';
import type { Logger } from './log.ts';

export interface ServiceManager extends Disposable {
  /** `status`: one line for people (`systemctl status`). */
  ready(status: string): void;
  status(text: string): void;
  stopping(): void;
}

export interface ServiceManagerOptions {
  /** The process's own; NOTIFY_SOCKET and WATCHDOG_USEC are read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'warn'>;
  /** For tests. */
  readonly command?: string;
}

/** Without a watchdog, READY is said again this often until it was said a few times (Y2). */
const AGAIN_MS = 2_000;
const AGAIN_TIMES = 4;
const MAX_STATUS = 200;

const SILENT: ServiceManager = {
  ready: () => undefined,
  status: () => undefined,
  stopping: () => undefined,
  [Symbol.dispose]: () => undefined,
};

export function openServiceManager(options: ServiceManagerOptions): ServiceManager {
  const { env, clock, log, command = 'systemd-notify' } = options;
  const socket = env.NOTIFY_SOCKET;
  if (socket === undefined || socket === '') return SILENT;
  // Half of what systemd waits, as its manual asks; one process each, some milliseconds.
  const watchdogMs = Number(env.WATCHDOG_USEC ?? 0) / 2000;
  let complained = false;
  let timer: Timer | undefined;
  let words = '';
  let left = AGAIN_TIMES;
  const send = (...facts: string[]): void => {
    const child = spawn(command, facts, {
      stdio: 'ignore',
      env: { NOTIFY_SOCKET: socket, PATH: env.PATH ?? '/usr/bin:/bin' },
    });
    const failed = (reason: unknown): void => {
      if (!complained) log.warn({ err: reason }, 'systemd is not told how this service is: systemd-notify failed');
      complained = true;
    };
    child.once('error', failed);
    child.once('exit', (code) => (code === 0 ? undefined : failed(new Error(`it ended with ${code}`))));
  };
  const alive = (): void => {
    send('READY=1', ...(watchdogMs > 0 ? ['WATCHDOG=1'] : []), ...(words === '' ? [] : [`STATUS=${words}`]));
    left -= 1;
    if (watchdogMs > 0) timer = clock.after(watchdogMs, alive);
    else if (left > 0) timer = clock.after(AGAIN_MS, alive);
  };
  const say = (text: string): void => {
    words = text.replace(/\s+/g, ' ').slice(0, MAX_STATUS);
  };
  return {
    ready(status) {
      say(status);
      timer?.cancel();
      alive();
    },
    status(text) {
      const before = words;
      say(text);
      // Before READY it is kept for the message that says it.
      if (timer !== undefined && words !== before) send('READY=1', `STATUS=${words}`);
    },
    stopping() {
      timer?.cancel();
      timer = undefined;
      send('STOPPING=1', 'STATUS=stopping');
    },
    [Symbol.dispose]() {
      timer?.cancel();
    },
  };
}
