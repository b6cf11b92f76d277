/**
 * A broker that runs for longer than its certificate lives: looked at once a day, issued anew by the broker's own authority
 * (base/tls.ts says when), and taken over by the listening sockets. Connections that are open keep what they began with, and
 * whoever pins the authority sees no change.
 */
import type { Clock, Timer } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import type { ServerTls } from '#base/tls.ts';
import { FarfieldError } from '#kernel/errors.ts';

export interface CertificateOptions {
  readonly tls: ServerTls;
  /** Reads the folder, and renews what is due. */
  readonly open: () => ServerTls;
  /** New connections get this one. */
  readonly use: (tls: ServerTls) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const DAY_MS = 24 * 3600_000;

export function keepCertificate({ tls, open, use, clock, log }: CertificateOptions): Disposable {
  let current = tls;
  let timer: Timer;
  const look = (): void => {
    timer = clock.after(DAY_MS, look);
    try {
      const now = open();
      if (now.cert === current.cert) return;
      use(now);
      current = now;
      log.info({ notAfter: new Date(now.notAfterMs).toISOString() }, 'certificate renewed');
    } catch (reason) {
      // A full disk, a folder from another backup: the old certificate is good for months, and tomorrow is another day.
      const notAfter = new Date(current.notAfterMs).toISOString();
      log.error({ err: FarfieldError.from(reason), notAfter }, 'ALARM: the certificate could not be renewed');
    }
  };
  timer = clock.after(DAY_MS, look);
  return { [Symbol.dispose]: () => timer.cancel() };
}
