/**
 * Outcomes on their way to the agent: gathered for one turn into a Done message, kept until its DoneAck.
 *
 * Invariants
 *  C1 An outcome is kept (in memory) until it was acknowledged; it is sent again to every new session. The pilot's death
 *     costs the attempt, never a result that was acknowledged.
 *  C2 Equal details and measurements within one message are listed once.
 *  C3 What the pilot measured (`meas`) and what the runner claims (`rep`) never mix.
 */
import { utf8 } from '#kernel/bytes.ts';
import { STATUS_CODES } from '#kernel/leaves.ts';
import type { Done } from '#protos/generated/link.js';
import { leaseId } from './lease.ts';
import { MAX_DONE_BYTES, MAX_DONE_ITEMS } from './limits.ts';

/** The JSON of one detail on this link: what the receipt will say, and whether a failure is charged to the invocation. */
export interface DoneDetail {
  readonly res?: { readonly type: string; readonly at: 'inline' | 'blob'; readonly size?: number };
  readonly err?: { readonly code: string; readonly message: string };
  readonly rep?: Record<string, unknown>;
  readonly charged?: boolean;
}

export interface Outcome {
  readonly key: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
  readonly status: keyof typeof STATUS_CODES;
  readonly detail: DoneDetail;
  /** 32 bytes; undefined where there is no result. */
  readonly resultDigest: Uint8Array | undefined;
  readonly result: Uint8Array | undefined;
  readonly file: { readonly path: string; readonly size: number } | undefined;
  /** JSON of a Measured record. */
  readonly meas: string;
}

const NO_DIGEST = new Uint8Array(32);

export interface Outcomes {
  add(outcome: Outcome): void;
  /** Gathers what was added into messages now. */
  flush(): void;
  acked(doneNo: number): void;
  /** Messages after this number, oldest first. */
  after(doneNo: number, limit: number): { no: number; message: Done; bytes: number }[];
  /** Outcomes that no DoneAck came for: the `held` of a hello. */
  unacknowledged(): { key: number; attempt: number; leaseEpoch: number }[];
  /** By lease id. */
  has(id: string): boolean;
  readonly size: number;
}

/** Texts of one message by content. */
function createTable(): { index(text: string): number; readonly texts: string[]; readonly bytes: number } {
  const known = new Map<string, number>();
  const texts: string[] = [];
  let bytes = 0;
  return {
    texts,
    get bytes() {
      return bytes;
    },
    index(text) {
      const at = known.get(text);
      if (at !== undefined) return at;
      known.set(text, texts.length);
      texts.push(text);
      bytes += text.length;
      return texts.length - 1;
    },
  };
}

interface Draft {
  readonly outcomes: Outcome[];
  readonly detail: number[];
  readonly details: ReturnType<typeof createTable>;
  readonly meas: number[];
  readonly records: ReturnType<typeof createTable>;
  resultBytes: number;
}

function createDraft(): Draft {
  return { outcomes: [], detail: [], details: createTable(), meas: [], records: createTable(), resultBytes: 0 };
}

function seal(draft: Draft, doneNo: number): Done {
  const { outcomes } = draft;
  const statuses = Buffer.allocUnsafe(outcomes.length);
  const digests = Buffer.allocUnsafe(32 * outcomes.length);
  const results = Buffer.allocUnsafe(draft.resultBytes);
  const done: Done = {
    doneNo,
    keys: [],
    attempts: [],
    leaseEpochs: [],
    statuses,
    detail: draft.detail,
    details: draft.details.texts.map(utf8),
    resultDigests: digests,
    resultSizes: [],
    results,
    files: [],
    meas: draft.meas,
    measRecords: draft.records.texts.map(utf8),
  };
  let at = 0;
  for (const [index, outcome] of outcomes.entries()) {
    done.keys.push(outcome.key);
    done.attempts.push(outcome.attempt);
    done.leaseEpochs.push(outcome.leaseEpoch);
    statuses[index] = STATUS_CODES[outcome.status];
    digests.set(outcome.resultDigest ?? NO_DIGEST, 32 * index);
    done.resultSizes.push(outcome.result?.byteLength ?? 0);
    if (outcome.result !== undefined) {
      results.set(outcome.result, at);
      at += outcome.result.byteLength;
    }
    if (outcome.file !== undefined) done.files.push({ index, path: outcome.file.path, size: outcome.file.size });
  }
  return done;
}

/** Bytes of a message, about: enough for windows and limits. */
function weigh(draft: Draft): number {
  return draft.resultBytes + draft.details.bytes + draft.records.bytes + 64 * draft.outcomes.length;
}

export function createOutcomes(onSealed: (entry: { no: number; message: Done; bytes: number }) => void): Outcomes {
  const kept = new Map<number, { message: Done; bytes: number }>();
  const ids = new Set<string>();
  let draft = createDraft();
  let doneNo = 0;
  let scheduled = false;

  function flush(): void {
    scheduled = false;
    if (draft.outcomes.length === 0) return;
    doneNo += 1;
    const message = seal(draft, doneNo);
    const bytes = weigh(draft);
    draft = createDraft();
    kept.set(doneNo, { message, bytes });
    onSealed({ no: doneNo, message, bytes });
  }

  return {
    flush,
    add(outcome) {
      const detail = JSON.stringify(outcome.detail);
      const more = (outcome.result?.byteLength ?? 0) + detail.length + outcome.meas.length;
      if (draft.outcomes.length >= MAX_DONE_ITEMS || weigh(draft) + more > MAX_DONE_BYTES) flush();
      draft.outcomes.push(outcome);
      ids.add(leaseId(outcome.key, outcome.attempt));
      draft.detail.push(draft.details.index(detail));
      draft.meas.push(draft.records.index(outcome.meas));
      draft.resultBytes += outcome.result?.byteLength ?? 0;
      if (scheduled) return;
      scheduled = true;
      // A microtask: all outcomes of one frame of a runner are added in one turn, and then leave together.
      queueMicrotask(flush);
    },
    acked(no) {
      const done = kept.get(no)?.message;
      kept.delete(no);
      for (const [i, key] of done?.keys.entries() ?? []) ids.delete(leaseId(key, done?.attempts[i] ?? 0));
    },
    has: (id) => ids.has(id),
    after(no, limit) {
      const found = [];
      // Insertion order is the order of numbers.
      for (const [at, entry] of kept) {
        if (at <= no) continue;
        found.push({ no: at, ...entry });
        if (found.length === limit) break;
      }
      return found;
    },
    unacknowledged() {
      return [...kept.values()].flatMap(({ message }) =>
        message.keys.map((key, i) => ({
          key,
          attempt: message.attempts[i] ?? 0,
          leaseEpoch: message.leaseEpochs[i] ?? 0,
        })),
      );
    },
    get size() {
      return kept.size + (draft.outcomes.length > 0 ? 1 : 0);
    },
  };
}
