/** A submission's bytes: u32le header length, header JSON, then each ticket's items and inline arguments. */
import type { Bytes } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { parseStrict } from '#kernel/json.ts';
import { assertShape } from '#kernel/schema.ts';
import { SubmissionHeader } from '#protos/http.ts';

/** One ticket with its bytes; views into the request. */
export interface SubmittedTicket {
  readonly ticket: string;
  readonly chain: readonly string[];
  readonly manifest: string;
  readonly itemSizes: readonly number[];
  readonly itemBytes: Bytes;
  readonly inlineSizes: readonly number[];
  readonly inline: Bytes;
}

const bad = (message: string): FarfieldError => new FarfieldError('E_BAD_REQUEST', `the submission ${message}`);

export function parseSubmission(body: Bytes): SubmittedTicket[] {
  if (body.byteLength < 4) throw bad('is shorter than its header length');
  const headerEnd = 4 + new DataView(body.buffer, body.byteOffset, 4).getUint32(0, true);
  if (headerEnd > body.byteLength) throw bad('ends within its header');
  const header = assertShape(
    SubmissionHeader,
    parseStrict(body.subarray(4, headerEnd), 'E_BAD_REQUEST'),
    'E_BAD_REQUEST',
    "the submission's header",
  );
  let at = headerEnd;
  const take = (sizes: readonly number[]): Bytes => {
    const end = sizes.reduce((sum, size) => sum + size, at);
    if (end > body.byteLength) throw bad('ends within the bytes of a ticket');
    const bytes = body.subarray(at, end);
    at = end;
    return bytes;
  };
  const tickets = header.tickets.map(({ ticket, chain, manifest, itemSizes, inlineSizes }) => {
    const links = header.chains[chain];
    const text = header.manifests[manifest];
    if (links === undefined || text === undefined) throw bad('names a chain or manifest that it does not hold');
    return {
      ticket,
      chain: links,
      manifest: text,
      itemSizes,
      itemBytes: take(itemSizes),
      inlineSizes,
      inline: take(inlineSizes),
    };
  });
  if (at !== body.byteLength) throw bad('has more bytes than its sizes add up to');
  return tickets;
}
