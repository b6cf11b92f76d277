/** Where this endpoint's broker is, and how to know it: no secret. Written when it joined (enrol.ts). */
import { readFileSync } from 'node:fs';
import { errno } from '#base/files.ts';
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AgentFolder } from './folder.ts';

export interface BrokerAddress {
  readonly url: string;
  /** `host:port` or URL of the link port. */
  readonly grpc: string;
  /** PEM of the broker's own CA. */
  readonly ca: string;
  readonly brokerId: string;
}

/** Where the broker is; throws with what to do where nobody joined yet. */
export function readBroker(folder: AgentFolder): BrokerAddress {
  try {
    return JSON.parse(fromUtf8(readFileSync(folder.broker))) as BrokerAddress;
  } catch (reason) {
    if (errno(reason) !== 'ENOENT') throw reason;
    throw new FarfieldError(
      'E_NOT_FOUND',
      'this endpoint has joined no broker yet; run `farfield endpoint join TOKEN` with the token of `farfield broker invite --endpoint`',
    );
  }
}
