/**
 * Joining a broker: a one-use invitation, bound to this endpoint's id, is redeemed over TLS that is pinned to the CA inside it.
 * What is kept afterwards is no secret: where the broker is, and how to know it.
 */
import type { Static } from 'typebox';
import { Agent, request } from 'undici';
import { writeDurable } from '#base/files.ts';
import { DIRECT, type Egress, requestConnect } from '#base/proxy.ts';
import { fromBase64Url } from '#kernel/bytes.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { parseStrict } from '#kernel/json.ts';
import { assertShape } from '#kernel/schema.ts';
import { EnrolReply, ErrorBody, Invitation, ROUTES } from '#protos/http.ts';
import type { BrokerAddress } from './broker.ts';
import type { AgentFolder } from './folder.ts';
import type { Identity } from './identity.ts';

/** The invitation inside `ff1....`; its secret is good once and never written down here. */
export function readInvitation(token: string): Invitation {
  const bytes = token.startsWith('ff1.') ? fromBase64Url(token.slice(4)) : undefined;
  if (bytes === undefined)
    throw new FarfieldError('E_USAGE', 'an invitation begins with ff1. and is one long word; copy it whole');
  return assertShape(Invitation, parseStrict(bytes, 'E_ENROLMENT'), 'E_ENROLMENT', 'the invitation');
}

export async function joinBroker(
  folder: AgentFolder,
  identity: Identity,
  token: string,
  nowS: number,
  egress: Egress = DIRECT,
): Promise<BrokerAddress> {
  const invitation = readInvitation(token);
  const { url, grpc, ca, brokerId, secret } = invitation;
  if (invitation.for.kind !== 'endpoint' || invitation.for.id !== identity.endpoint) {
    throw new FarfieldError(
      'E_ENROLMENT',
      `this invitation is for ${invitation.for.kind} ${invitation.for.id}; this is endpoint ${identity.endpoint}. Ask for one with \`farfield broker invite --endpoint ${identity.endpoint}\``,
    );
  }
  if (invitation.exp < nowS)
    throw new FarfieldError('E_ENROLMENT', 'this invitation is over; they last some minutes. Ask for a new one');
  const reply = await enrol(url, requestConnect(egress, url, ca), { secret, descriptor: identity.descriptor });
  if (reply.brokerId !== brokerId) {
    throw new FarfieldError(
      'E_ENROLMENT',
      `the broker at ${url} calls itself ${reply.brokerId}, the invitation says ${brokerId}: do not use it`,
    );
  }
  const address = { url, grpc, ca, brokerId };
  await writeDurable(folder.broker, `${JSON.stringify(address, undefined, 2)}\n`, 0o600);
  return address;
}

async function enrol(
  url: string,
  connect: ReturnType<typeof requestConnect>,
  body: object,
): Promise<Static<typeof EnrolReply>> {
  await using pinned = new ClosingAgent({ connect, connections: 1 });
  let status: number;
  let text: string;
  try {
    const answer = await request(new URL(ROUTES.enrol.url, url), {
      method: ROUTES.enrol.method,
      dispatcher: pinned,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    status = answer.statusCode;
    text = await answer.body.text();
  } catch (cause) {
    throw new FarfieldError(
      'E_UNAVAILABLE',
      `no answer from the broker at ${url}. Is it running, and is that address right?`,
      { cause },
    );
  }
  if (status >= 200 && status < 300)
    return assertShape(EnrolReply, parseStrict(text, 'E_ENROLMENT'), 'E_ENROLMENT', 'the answer of the broker');
  throw refusalOf(text, status);
}

/** undici's own disposal waits for idle sockets; this one does not. */
class ClosingAgent extends Agent {
  [Symbol.asyncDispose](): Promise<void> {
    return this.destroy();
  }
}

function refusalOf(text: string, status: number): FarfieldError {
  try {
    const { error } = assertShape(ErrorBody, parseStrict(text, 'E_ENROLMENT'), 'E_ENROLMENT', 'the refusal');
    return new FarfieldError(isErrorCode(error.code) ? error.code : 'E_ENROLMENT', error.message);
  } catch {
    return new FarfieldError(
      'E_UNAVAILABLE',
      `the broker answered ${status} without a Farfield error; is something else listening there?`,
    );
  }
}
