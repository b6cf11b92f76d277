/** A port of this node where nobody listens now. */
import { createServer } from 'node:net';

/**
 * Taken and let go at once: somebody else may have it by the time that the first rank listens, and then that rank fails and the
 * gang starts again. Handing the open socket on would help programs alone that take one, and of these there are few.
 */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
