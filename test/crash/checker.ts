/**
 * The history checker: what was promised, what was seen, and where the two differ. Pure: events in, an account out.
 *
 * Invariants
 *  H1 `lost`: items of an acknowledged ticket without a completion in the whole history.
 *  H2 `duplicate`: a second completion of an item in one life of the client, or one in a later life that differs from the
 *     first, or an alarm by the client about receipts that differ. Work may be repeated, results may not.
 *  H3 `unexpected`: a completion of an item that nobody submitted, with an answer that does not belong to its arguments,
 *     or one that failed although nothing was wrong with it.
 *  H4 `late`: the same outcome told again to a later life of the client, which did not know that it had been told.
 *  H5 A ticket that was sent and never acknowledged may end either way: `recovered` counts those that completed.
 */

export type CrashEvent =
  /** Written before the ticket is sent; `label` is what its arguments are made of. */
  | { readonly kind: 'submit'; readonly life: number; readonly id: string; readonly n: number; readonly label: string }
  | { readonly kind: 'ack'; readonly life: number; readonly id: string }
  | {
      readonly kind: 'done';
      readonly life: number;
      readonly id: string;
      readonly i: number;
      readonly status: string;
      readonly attempt: number;
      /** Hex of the answer, empty without one. */
      readonly answer: string;
      readonly code?: string;
    }
  /** The client said that something contradicts what it had accepted. */
  | { readonly kind: 'alarm'; readonly life: number; readonly message: string };

export interface CheckOptions {
  readonly maxStarts: number;
  /** Hex of the one right answer. */
  readonly answerOf: (label: string, i: number) => string;
}

export interface Account {
  readonly submitted: number;
  readonly acked: number;
  readonly completed: number;
  readonly recovered: number;
  readonly lost: number;
  readonly duplicate: number;
  readonly unexpected: number;
  readonly late: number;
  /** Items that needed more than one start, and the most starts of one item. */
  readonly repeated: number;
  readonly mostStarts: number;
  readonly overStarted: number;
  /** The first of each kind of trouble, in words. */
  readonly findings: readonly string[];
}

interface Seen {
  readonly life: number;
  readonly text: string;
}

interface TicketHistory {
  readonly n: number;
  readonly label: string;
  acked: boolean;
  readonly done: Map<number, Seen>;
}

const MAX_FINDINGS = 20;

export function checkHistory(events: Iterable<CrashEvent>, options: CheckOptions): Account {
  const tickets = new Map<string, TicketHistory>();
  const findings: string[] = [];
  const counts = { completed: 0, duplicate: 0, unexpected: 0, late: 0, repeated: 0, mostStarts: 0, overStarted: 0 };
  const find = (kind: 'duplicate' | 'unexpected' | 'overStarted', text: string): void => {
    counts[kind] += 1;
    if (findings.length < MAX_FINDINGS) findings.push(`${kind}: ${text}`);
  };
  for (const event of events) {
    if (event.kind === 'alarm') find('duplicate', event.message);
    else if (event.kind === 'submit')
      tickets.set(event.id, { n: event.n, label: event.label, acked: false, done: new Map() });
    else {
      const ticket = tickets.get(event.id);
      if (ticket === undefined) find('unexpected', `${event.kind} of ${event.id}, which nobody submitted`);
      else if (event.kind === 'ack') ticket.acked = true;
      else completion(event, ticket, options, counts, find);
    }
  }
  let [submitted, acked, recovered, lost] = [0, 0, 0, 0];
  for (const [id, ticket] of tickets) {
    submitted += ticket.n;
    if (!ticket.acked) {
      recovered += ticket.done.size;
      continue;
    }
    acked += ticket.n;
    const missing = ticket.n - ticket.done.size;
    lost += missing;
    if (missing > 0 && findings.length < MAX_FINDINGS) findings.push(`lost: ${missing} of ${ticket.n} items of ${id}`);
  }
  return { submitted, acked, recovered, lost, ...counts, findings };
}

function completion(
  event: Extract<CrashEvent, { kind: 'done' }>,
  ticket: TicketHistory,
  options: CheckOptions,
  counts: { completed: number; late: number; repeated: number; mostStarts: number },
  find: (kind: 'duplicate' | 'unexpected' | 'overStarted', text: string) => void,
): void {
  const { id, i, life, status, attempt, answer } = event;
  const name = `${id}/${i}`;
  const text = `${status} ${attempt} ${answer}`;
  const before = ticket.done.get(i);
  if (before !== undefined) {
    if (before.life === life) find('duplicate', `${name} ended twice in life ${life}`);
    else if (before.text !== text) find('duplicate', `${name} ended as "${before.text}" and later as "${text}"`);
    else counts.late += 1;
    return;
  }
  if (i < 0 || i >= ticket.n) {
    find('unexpected', `${name}, of ${ticket.n} items`);
    return;
  }
  ticket.done.set(i, { life, text });
  counts.completed += 1;
  counts.mostStarts = Math.max(counts.mostStarts, attempt);
  if (attempt > 1) counts.repeated += 1;
  if (attempt > options.maxStarts) find('overStarted', `${name} was started ${attempt} times`);
  if (status !== 'succeeded') find('unexpected', `${name} ended ${status} ${event.code ?? ''} at start ${attempt}`);
  else if (answer !== options.answerOf(ticket.label, i)) find('unexpected', `${name} has another item's answer`);
}

/** Whether the promise held. */
export function held(account: Account): boolean {
  return account.lost + account.duplicate + account.unexpected + account.overStarted === 0;
}

/** One line for people. */
export function describeAccount(account: Account): string {
  const { acked, completed, lost, duplicate, unexpected, late, recovered, repeated, mostStarts, overStarted } = account;
  return (
    `acked ${acked}, completed ${completed}, lost ${lost}, duplicate ${duplicate}, unexpected ${unexpected}, late ${late}; ` +
    `completed without a seen ack ${recovered}; started more than once ${repeated}, at most ${mostStarts} times, over the limit ${overStarted}`
  );
}

/** Events of a file of JSON lines; the last line may be torn by the death of its writer. */
export function parseHistory(text: string): CrashEvent[] {
  return text.split('\n').flatMap((line, index, lines) => {
    if (line === '') return [];
    try {
      return [JSON.parse(line) as CrashEvent];
    } catch (cause) {
      // A killed writer's half line is followed by the next life's first: neither was acted upon.
      if (index === lines.length - 1 || line.includes('{"kind"')) return salvage(line);
      throw cause;
    }
  });
}

/** The whole event at the end of a line that begins with half of another. */
function salvage(line: string): CrashEvent[] {
  const at = line.lastIndexOf('{"kind"');
  try {
    return at <= 0 ? [] : [JSON.parse(line.slice(at)) as CrashEvent];
  } catch {
    return [];
  }
}
