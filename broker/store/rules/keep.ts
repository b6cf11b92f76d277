/** People, places and bytes: invitations, enrolment, blobs, and what is forgotten in time. */
import { u32At } from '../columns.ts';
import type { Rows } from '../rows.ts';
import type {
  Accepted,
  AddUser,
  Enrol,
  InvitationKind,
  Invite,
  KeepBlob,
  Purge,
  Purged,
  Refused,
  Restored,
} from '../store.ts';
import { KEEP_ASKED_S } from './access.ts';
import { refused } from './common.ts';

const DONE = { kind: 'done' } as const;

/** A ticket with its small arguments: a disk that has less than this left is as good as full. */
const PROBE_BYTES = 64 * 1024;

export function probe(rows: Rows): { kind: 'done' } {
  rows.probe(PROBE_BYTES);
  return DONE;
}

/** Agents and clients send again what this history lacks; readers are told to start over (`reset`), which the generation does. */
export function restored(rows: Rows, c: Restored): { kind: 'done' } {
  rows.setGeneration(c.generation);
  rows.alarm(c.nowS, 'restored', `the store came from a backup; its generation is ${c.generation} from now on`);
  return DONE;
}

/** Only the hash is kept: whoever reads the database cannot redeem what it lists. */
export function invite(rows: Rows, c: Invite): { kind: 'done' } {
  rows.addInvitation(c.secretHash, { for: c.for, subject: c.subject, exp: c.exp });
  return DONE;
}

/** One sentence for every cause but the asker's own key: whoever guesses secrets learns nothing. */
function redeem(
  rows: Rows,
  secretHash: string,
  kind: InvitationKind,
  subject: string,
  nowS: number,
): Refused | undefined {
  const row = rows.invitation(secretHash);
  if (row === undefined || row.used || row.exp < nowS || row.for !== kind) {
    return refused(
      'E_ENROLMENT',
      "this invitation is unknown, used or older than ten minutes; ask the broker's operator for a new one",
    );
  }
  if (row.subject !== subject)
    return refused('E_ENROLMENT', `this invitation is for another ${kind} than ${subject}; ask for one for that id`);
  rows.useInvitation(secretHash);
  return undefined;
}

/** A key becomes a user; joining again with a new invitation is allowed and changes nothing. */
export function addUser(rows: Rows, c: AddUser): Accepted {
  const no = redeem(rows, c.secretHash, 'user', c.kid, c.nowS);
  if (no !== undefined) return no;
  const principal = rows.principal(c.kid) ?? rows.addPrincipal(c.kid);
  rows.setUser(principal.no, c.jwk);
  return DONE;
}

/** An endpoint's root becomes known, with the newest descriptor that it signed. */
export function enrol(rows: Rows, c: Enrol): Accepted {
  const no = redeem(rows, c.secretHash, 'endpoint', c.endpoint, c.nowS);
  if (no !== undefined) return no;
  const { descriptor, seq, online, onlineKid } = c;
  const row = rows.endpoint(c.endpoint);
  if (row === undefined) {
    rows.addEndpoint({ id: c.endpoint, descriptor, seq, online, onlineKid, status: '', ledgerN: 0, sessionEpoch: 0 });
    return DONE;
  }
  // Joining again (a new machine, the same root) keeps the epochs, and never goes back to an older descriptor.
  if (seq < row.seq)
    return refused('E_CONFLICT', `descriptor ${seq} of ${c.endpoint} is older than ${row.seq}, which was seen before`);
  rows.saveEndpoint({ ...row, descriptor, seq, online, onlineKid });
  return DONE;
}

/** The file is in place and synced before this: a row without bytes would be a promise broken, bytes without a row are swept. */
export function keepBlob(rows: Rows, c: KeepBlob): { kind: 'done' } {
  const principal = rows.principal(c.principal) ?? rows.addPrincipal(c.principal);
  if (rows.blobSize(c.digest) === undefined) rows.addBlob(c.digest, c.size);
  rows.grant(principal.no, c.digest, c.nowS);
  return DONE;
}

/**
 * B6, after retention. A pack goes with the last ticket that refers to it, a blob with its last grant: its file is deleted by the
 * caller after this commit, never before. Bounded by `limit`, so that no commit waits long behind it; `more` asks for another turn.
 */
export function purge(rows: Rows, c: Purge): Purged {
  const before = c.nowS - c.retentionS;
  const tickets = rows.doneTickets(before, c.limit);
  for (const no of tickets) {
    const ticket = rows.hotByNo(no);
    const packs = new Set<number>();
    for (let i = 0; ticket !== undefined && i < ticket.n; i += 1) packs.add(u32At(ticket.packs, i * 2));
    for (const pack of packs) if (pack !== 0) rows.releasePack(pack);
    rows.dropTicket(no);
  }
  const events = rows.dropEvents(before, c.limit);
  rows.dropInvitations(c.nowS - c.retentionS);
  rows.dropAlarms(c.nowS - c.alarmRetentionS);
  rows.dropAsked(c.nowS - KEEP_ASKED_S);
  const grants = rows.staleGrants(before, c.limit);
  const blobs: string[] = [];
  for (const { principal, digest } of grants) {
    rows.revoke(principal, digest);
    if (rows.anyGrant(digest)) continue;
    rows.dropBlob(digest);
    blobs.push(digest);
  }
  return { tickets: tickets.length, events, blobs, more: Math.max(tickets.length, events, grants.length) >= c.limit };
}
