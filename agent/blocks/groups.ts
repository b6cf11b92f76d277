/**
 * Who may share a block: work of one local user, account, queue and shape. Blocks are started for a group, and pilots take
 * work of their block's group alone; what a signer asks to be charged to is never charged to another.
 *
 * An agent runs as one local user, so that part of the key is its own uid; it is there so that no later change forgets it.
 */
import type { BlockShape } from '../schedulers/scheduler.ts';
import type { Work } from '../work/mirror.ts';

export interface Group {
  readonly key: string;
  readonly shape: BlockShape;
}

export interface Groups {
  of(work: Pick<Work, 'token'>): Group;
  /** Of a block that asks for what the site's configuration says. */
  readonly base: Group;
  /** A group again, from what was written down of it. */
  from(shape: BlockShape): Group;
}

export function createGroups(options: { base: BlockShape; uid: number; hasAccounts: boolean }): Groups {
  const { base, uid, hasAccounts } = options;
  const known = new Map<string, Group>();
  const ofWork = new WeakMap<object, Group>();
  const from = (shape: BlockShape): Group => {
    const { account = null, queue = null, nodes, wallS } = shape;
    const key = JSON.stringify([uid, account, queue, nodes, wallS]);
    const group = known.get(key) ?? { key, shape };
    known.set(key, group);
    return group;
  };
  return {
    base: from(base),
    from,
    of(work) {
      let group = ofWork.get(work);
      if (group === undefined) {
        const { account, queue } = work.token.claims.res;
        // The policy took both already (kernel/policy/ceilings.ts); a machine without a scheduler has neither.
        const asked = {
          ...(account === undefined ? {} : { account }),
          ...(queue === undefined ? {} : { queue }),
        };
        group = from(hasAccounts ? { ...base, ...asked } : base);
        ofWork.set(work, group);
      }
      return group;
    },
  };
}
