/** Whether a hello speaks for an enrolled endpoint: the root's descriptor names the key, the key signed this challenge's answer. */
import { checkHello } from '#base/link/hello-check.ts';
import { openDescriptor, openStatus } from '#kernel/endpoint.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Token } from '#kernel/jws.ts';
import type { Hello } from '#protos/generated/link.js';

export interface VerifiedHello {
  readonly descriptor: Token<'farfield-endpoint+jwt'>;
  readonly status: Token<'farfield-status+jwt'>;
  readonly hello: Token<'farfield-hello+jwt'>;
}

export async function verifyHello(
  hello: Hello,
  nonce: string,
  brokerId: string,
  nowMs: number,
): Promise<VerifiedHello> {
  const descriptor = openDescriptor(hello.descriptor, { nowS: nowMs / 1000 });
  const { iss: endpoint, sign } = descriptor.claims;
  const token = await checkHello(hello.token, {
    acceptor: brokerId,
    nonce,
    nowMs,
    protocol: { min: hello.protocolMin, max: hello.protocolMax },
    keyOf(subject) {
      if (subject === endpoint) return sign;
      throw new FarfieldError('E_AUDIENCE', `this hello speaks for ${subject}, its descriptor for ${endpoint}`);
    },
  });
  return { descriptor, hello: token, status: openStatus(hello.status, descriptor) };
}
