/**
 * Blobs, cancels, refusals, invitations, alarms in maps.
 *
 * Without the bound on alarms that SQLite has: a test that makes ten thousand of them wants to see them.
 */
import type { Rows } from '../rows.ts';
import { must, type Tables } from './tables.ts';

type KeepingRows = Pick<
  Rows,
  | 'addCancel'
  | 'cancels'
  | 'dropCancel'
  | 'addRefusal'
  | 'refusals'
  | 'addInvitation'
  | 'invitation'
  | 'useInvitation'
  | 'dropInvitations'
  | 'alarm'
  | 'alarms'
  | 'dropAlarms'
  | 'probe'
  | 'counts'
>;

export function keepingRows(tables: Tables): KeepingRows {
  return {
    addCancel(endpoint, ticket, token, links) {
      const no = tables.cancels.nextNo();
      tables.cancels.set(no, { endpoint, ticket, token, links });
      return no;
    },
    cancels: (endpoint) =>
      tables.cancels
        .entries()
        .flatMap(([no, row]) => (row.endpoint === endpoint ? [{ no, token: row.token, links: row.links }] : [])),
    dropCancel(endpoint, no) {
      if (tables.cancels.get(no)?.endpoint === endpoint) tables.cancels.delete(no);
    },
    addRefusal: (ticket, items, receipt) => tables.refusals.set(tables.refusals.nextNo(), { ticket, items, receipt }),
    refusals: (ticket) =>
      tables.refusals
        .entries()
        .flatMap(([, row]) => (row.ticket === ticket ? [{ items: row.items, receipt: row.receipt }] : [])),

    addInvitation: (hash, row) => tables.invitations.set(hash, { ...row, used: false }),
    invitation: (hash) => tables.invitations.get(hash),
    useInvitation: (hash) => tables.invitations.set(hash, { ...must(tables.invitations.get(hash)), used: true }),
    dropInvitations(before) {
      for (const key of tables.invitations.keysWhere((row) => row.exp < before)) tables.invitations.delete(key);
    },

    alarm: (at, kind, text) => tables.alarms.set(tables.alarms.nextNo(), { at, kind, text }),
    alarms: (limit) =>
      tables.alarms
        .entries()
        .map(([, row]) => row)
        .reverse()
        .slice(0, limit),
    dropAlarms(before) {
      for (const key of tables.alarms.keysWhere((row) => row.at < before)) tables.alarms.delete(key);
    },

    // Memory that is full ends the process; it says nothing before.
    probe: () => undefined,
    counts: () => ({
      tickets: tables.tickets.size,
      openItems: tables.principals.entries().reduce((sum, [, row]) => sum + row.open, 0),
      users: tables.principals.keysWhere((row) => row.jwk !== undefined).length,
      endpoints: tables.endpoints.size,
      blobs: tables.blobs.size,
      blobBytes: tables.blobs.entries().reduce((sum, [, size]) => sum + size, 0),
    }),
  };
}

type BlobRows = Pick<
  Rows,
  | 'addBlob'
  | 'blobSize'
  | 'grant'
  | 'granted'
  | 'staleGrants'
  | 'revoke'
  | 'anyGrant'
  | 'dropBlob'
  | 'pin'
  | 'unpin'
  | 'pinned'
  | 'pinnedAt'
>;

export function blobRows(tables: Tables): BlobRows {
  return {
    addBlob: (digest, size) => tables.blobs.set(digest, size),
    blobSize: (digest) => tables.blobs.get(digest),
    grant: (principal, digest, at) =>
      tables.grants.set(`${principal} ${digest}`, {
        principal,
        digest,
        at: Math.max(at, tables.grants.get(`${principal} ${digest}`)?.at ?? 0),
      }),
    granted: (principal, digest) => tables.grants.get(`${principal} ${digest}`) !== undefined,
    staleGrants: (before, limit) =>
      tables.grants
        .entries()
        .map(([, row]) => row)
        .filter((row) => row.at < before && tables.pins.keysWhere((pin) => pin.digest === row.digest).length === 0)
        .slice(0, limit),
    revoke: (principal, digest) => void tables.grants.delete(`${principal} ${digest}`),
    anyGrant: (digest) => tables.grants.keysWhere((row) => row.digest === digest).length > 0,
    dropBlob: (digest) => void tables.blobs.delete(digest),
    pin: (ticket, digest) => tables.pins.set(`${ticket} ${digest}`, { ticket, digest }),
    unpin(ticket) {
      for (const key of tables.pins.keysWhere((row) => row.ticket === ticket)) tables.pins.delete(key);
    },
    pinned: (digest) => tables.pins.keysWhere((row) => row.digest === digest).length > 0,
    pinnedAt: (endpoint, digest) =>
      tables.pins.keysWhere((row) => row.digest === digest && tables.tickets.get(row.ticket)?.endpoint === endpoint)
        .length > 0,
  };
}
