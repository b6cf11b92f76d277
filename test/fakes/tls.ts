/** An authority and a server certificate for loopback, as a broker makes them. */
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { issueServerCert, makeCa } from '#base/tls.ts';

export interface TestTls {
  /** What clients pin. */
  readonly ca: string;
  readonly server: { readonly key: string; readonly cert: string };
}

export function testTls(names: readonly string[] = ['127.0.0.1', 'localhost']): TestTls {
  const options = { nowMs: systemClock.now(), random: systemRandom };
  const ca = makeCa(options);
  return { ca: ca.cert, server: issueServerCert(ca, names, options) };
}
