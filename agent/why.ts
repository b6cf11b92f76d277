/**
 * Why an item does not run yet, in one sentence: for `farfield endpoint why`, and the words of it that a user's `status` shows.
 *
 * Invariants
 *  Y1 Answered from what the engine holds; nothing is asked of a scheduler, so that a thousand questions cost it nothing. The
 *     scheduler's own reason is the one of its last look.
 *  Y2 The first cause that alone keeps it waiting is the answer, in the order in which they would be met: its own end, the
 *     endpoint as a whole, a ceiling, blocks, and places last.
 *  Y3 Where an earlier start ended, why it did follows: the scheduler's cause, as soon as that is known.
 */
import { statusName } from '#kernel/receipts.ts';
import type { Refusal } from '#kernel/refusal.ts';

import { ITEM } from './admission/item-state.ts';
import type { AgentStatus, BlockView, WhyAnswer } from './control.ts';
import type { Work } from './work/mirror.ts';

export interface WhyFacts {
  readonly works: Iterable<Work>;
  /** What a launch would meet now. */
  readonly refusalOf: (work: Work) => Refusal | undefined;
  /** What of a node it needs, where that is what keeps it waiting. */
  readonly waitsFor: (work: Work) => string | undefined;
  readonly status: Pick<AgentStatus, 'state' | 'reason' | 'link'>;
  readonly blocks: readonly BlockView[];
  /** Why no job can be made now. */
  readonly trouble?: string | undefined;
  readonly pilots: {
    readonly rows: ReadonlyMap<number, { readonly node: string; readonly block: string }>;
    isConnected(no: number): boolean;
  };
  readonly nowMono: number;
}

/** `<id>` or `<id>.<i>`, or the beginning of an id. Undefined where no open work has it. */
export function whyOf(
  facts: WhyFacts,
  text: string,
): WhyAnswer | { readonly ambiguous: readonly string[] } | undefined {
  const [id = '', item] = text.split('.');
  // Read more than once below, which an iterator bears only once.
  const works = [...facts.works];
  const found = works.filter((work) => work.ticket.id.startsWith(id));
  if (found.length > 1) return { ambiguous: found.slice(0, 8).map((work) => work.ticket.id) };
  const [work] = found;
  if (work === undefined) return undefined;
  const i = item === undefined ? telling(work) : Number(item);
  const items = countStates(work);
  if (i >= work.ticket.n)
    return { id: work.ticket.id, code: 'unknown', sentence: `it has ${work.ticket.n} items, no ${i}`, items };
  return { id: work.ticket.id, item: i, ...explain({ ...facts, works }, work, i), items };
}

/** Of a batch, the first that waits; then one that runs. */
function telling(work: Work): number {
  const waiting = work.states.indexOf(ITEM.waiting);
  return waiting >= 0 ? waiting : Math.max(0, work.states.indexOf(ITEM.leased));
}

export function countStates(work: Pick<Work, 'states'>): WhyAnswer['items'] {
  const items = { absent: 0, waiting: 0, running: 0, ended: 0 };
  for (const state of work.states) {
    if (state === ITEM.waiting) items.waiting += 1;
    else if (state === ITEM.leased) items.running += 1;
    else if (state >= ITEM.ended) items.ended += 1;
    else items.absent += 1;
  }
  return items;
}

/** Items that pilots hold. */
export function leasedOf(works: Iterable<Pick<Work, 'states'>>): number {
  let leased = 0;
  for (const { states } of works) for (const state of states) if (state === ITEM.leased) leased += 1;
  return leased;
}

/** Of a stored byte of an ended item. */
export function endedWord(state: number): string {
  return statusName(state - ITEM.ended) ?? 'ended';
}

type Facts = WhyFacts & { readonly works: readonly Work[] };
type Explained = Pick<WhyAnswer, 'code' | 'sentence' | 'ahead' | 'block'>;

function explain(facts: Facts, work: Work, i: number): Explained {
  const answer = ofState(facts, work, i);
  const last = work.lastFailure.get(i);
  if (last === undefined || answer.code === 'done' || answer.code === 'ending') return answer;
  return { ...answer, sentence: `${answer.sentence}. Its last start ended: ${last.message}` };
}

function ofState(facts: Facts, work: Work, i: number): Explained {
  const state = work.states[i] ?? 0;
  if (state >= ITEM.ended) return { code: 'done', sentence: `it is over: ${endedWord(state)}` };
  if (state === ITEM.absent) return { code: 'not-here', sentence: 'the broker has not delivered this item yet' };
  if (work.ending[i] === 1) return { code: 'ending', sentence: 'it is over; its receipt is being written' };
  if (state === ITEM.leased) return running(facts, work, i);
  if (work.cancels[i] === 1)
    return { code: 'cancelled', sentence: 'it was cancelled before it started; its receipt follows' };
  return waits(facts, work, i);
}

function running({ pilots, nowMono }: WhyFacts, work: Work, i: number): Explained {
  const no = work.pilots[i] ?? 0;
  const pilot = pilots.rows.get(no);
  const attempt = work.starts[i] ?? 0;
  const at = work.leasedAt.get(i);
  const since = at === undefined ? '' : ` for ${Math.round((nowMono - at) / 1000)} s`;
  const again = attempt > 1 ? `, its start number ${attempt}` : '';
  const cancelled = work.cancels[i] === 1 ? '; it was cancelled and is being ended' : '';
  if (pilot === undefined)
    return {
      code: 'running',
      sentence: `it is leased to a pilot that is being given up; it starts again elsewhere${cancelled}`,
    };
  const away = pilots.isConnected(no)
    ? ''
    : "; the link to its pilot is gone, and it waits for the pilot's return or its job's end";
  return {
    code: 'running',
    sentence: `it runs on ${pilot.node}${since}${again} (block ${pilot.block})${away}${cancelled}`,
    block: pilot.block,
  };
}

function waits(facts: Facts, work: Work, i: number): Explained {
  const { status } = facts;
  const refusal = facts.refusalOf(work);
  if (refusal !== undefined)
    return {
      code: 'refused',
      sentence: `it will be refused when its turn comes: ${refusal.message} [${refusal.code}, step ${refusal.step}]`,
    };
  if (status.state === 'draining')
    return {
      code: 'draining',
      sentence: `the endpoint drains and starts nothing new: ${status.reason ?? 'its admin asked for it'}`,
    };
  if (status.state === 'paused')
    return { code: 'paused', sentence: `the endpoint is paused: ${status.reason ?? 'unknown'}` };
  const gate = fullGate(facts.works, work);
  if (gate !== undefined) return { code: 'ceiling', sentence: gate };
  const ahead = aheadOf(facts.works, work, i);
  const live = facts.blocks.filter(({ pilots, state }) => pilots > 0 && state === 'running');
  if (live.length === 0) return { ...noPilots(facts), ahead };
  const slots = live.reduce((sum, block) => sum + block.slots, 0);
  const busy = live.reduce((sum, block) => sum + block.busy, 0);
  const coming = facts.blocks
    .filter(({ pilots, detail }) => pilots === 0 && detail !== '')
    .map(({ id, detail }) => `block ${id}: ${detail}`);
  const more = coming.length === 0 ? '' : `; more places are coming: ${coming.slice(0, 3).join('; ')}`;
  const need = facts.waitsFor(work);
  const first = ahead === 0 ? 'it is next' : `${ahead} item${ahead === 1 ? ' is' : 's are'} ahead of it`;
  return {
    code: 'slots',
    sentence: `it waits for a place${need === undefined ? '' : ` ${need}`}: ${first}, ${busy} of ${slots} slots are busy${more}`,
    ahead,
  };
}

/** The scheduler's reason for the block that comes first. */
function noPilots({ blocks, trouble }: WhyFacts): Explained {
  if (blocks.length === 0 && trouble !== undefined)
    return { code: 'no-block', sentence: `it waits for a block: ${trouble}` };
  const [first] = blocks.filter(({ state }) => state !== 'draining' && state !== 'ended');
  if (first === undefined) {
    return blocks.length === 0
      ? { code: 'no-block', sentence: 'it waits for a block, which is about to be submitted' }
      : { code: 'no-block', sentence: `it waits for a block; ${blocks.length} that end still count against maxBlocks` };
  }
  const more = blocks.length > 1 ? ` (and ${blocks.length - 1} more)` : '';
  return {
    code: 'block',
    sentence: `it waits for block ${first.id}${more}, ${first.state}${first.detail === '' ? '' : `: ${first.detail}`}`,
    block: first.id,
  };
}

/** A ceiling on what runs at once that is full; counted over what runs, which is what a person can see. */
function fullGate(works: readonly Work[], work: Work): string | undefined {
  if (work.limits.length === 0) return undefined;
  for (const { name, most } of work.limits) {
    const inside = works
      .filter(({ limits }) => limits.some((limit) => limit.name === name))
      .reduce((sum, each) => sum + countStates(each).running, 0);
    if (inside < most) continue;
    return name === work.ticket.id
      ? `its batch allows itself ${most} items at once, and ${inside} run`
      : `its rule (${ruleName(name)}) lets one person run ${most} items at once, and ${inside} run`;
  }
  return undefined;
}

function ruleName(name: string): string {
  try {
    const [rule] = JSON.parse(name) as unknown[];
    return String(rule);
  } catch {
    return name;
  }
}

/** Items that were admitted before it and wait, too. Specs take turns, so it may be fewer. */
function aheadOf(works: readonly Work[], work: Work, i: number): number {
  let ahead = 0;
  for (const other of works) {
    if (other.no > work.no) continue;
    const until = other === work ? i : other.states.length;
    for (let k = 0; k < until; k++) if (other.states[k] === ITEM.waiting && other.ending[k] === 0) ahead += 1;
  }
  return ahead;
}
