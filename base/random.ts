/**
 * Randomness, injected. The seeded source is for simulations alone: it is predictable on purpose and makes no keys.
 */
import { createHash, randomFillSync } from 'node:crypto';

export interface Random {
  bytes(n: number): Uint8Array;
  /** In [0, 1), 32 bits of it. */
  uniform(): number;
}

/** One refill serves hundreds of small draws: a draw of 10 bytes costs 0.1 us instead of a call into OpenSSL. */
const POOL_BYTES = 8192;

function createSystemRandom(): Random {
  const pool = new Uint8Array(POOL_BYTES);
  let at = POOL_BYTES;
  const draw = (n: number): Uint8Array => {
    if (n > POOL_BYTES) return randomFillSync(new Uint8Array(n));
    if (at + n > POOL_BYTES) {
      randomFillSync(pool);
      at = 0;
    }
    const out = pool.slice(at, at + n);
    // What was handed out may become a key: it does not stay behind in the pool.
    pool.fill(0, at, at + n);
    at += n;
    return out;
  };
  return {
    bytes: draw,
    uniform() {
      const [a = 0, b = 0, c = 0, d = 0] = draw(4);
      return (((a << 24) | (b << 16) | (c << 8) | d) >>> 0) / 2 ** 32;
    },
  };
}

/** The machine's cryptographic source. Only a process's main.ts hands it out. */
export const systemRandom: Random = createSystemRandom();

/** sfc32, seeded through SHA-256 so that neighbouring seeds share nothing. */
export function createSeededRandom(seed: number | string): Random {
  const digest = createHash('sha256').update(`farfield/seed/${seed}`).digest();
  let [a, b, c] = [digest.readUInt32LE(0), digest.readUInt32LE(4), digest.readUInt32LE(8)];
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  return {
    bytes(n) {
      const out = new Uint8Array(n);
      for (let i = 0; i < n; i += 4) {
        const word = next();
        for (let k = 0; k < 4 && i + k < n; k++) out[i + k] = (word >>> (8 * k)) & 0xff;
      }
      return out;
    },
    uniform: () => next() / 2 ** 32,
  };
}
