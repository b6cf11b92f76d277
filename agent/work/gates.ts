/**
 * How many items may run at once under a ceiling: of one principal under a rule, of one batch.
 *
 * An item passes all its gates before it is placed and holds them until it ended or waits again. One that finds a gate full is
 * parked there, in order, so that placement never sees work that may not start.
 */
import type { Runnable } from './placement.ts';

/** A ceiling of a ticket. Equal names share one count. */
export interface Limit {
  readonly name: string;
  readonly most: number;
}

interface Gate {
  most: number;
  inside: number;
  readonly parked: Runnable[];
}

export interface Gates {
  /** True if the item may be placed; otherwise it is parked until somebody leaves. */
  enter(item: Runnable): boolean;
  /** The item ended, or waits again. Returns those that are to try in its place. */
  leave(item: Runnable): readonly Runnable[];
  /** Whether so many items of this ticket could enter now. */
  hasRoom(limits: readonly Limit[], count: number): boolean;
  readonly parked: number;
}

export function createGates(limitsOf: (item: Runnable) => readonly Limit[]): Gates {
  const gates = new Map<string, Gate>();
  const inside = new WeakMap<object, Set<number>>();

  const gateOf = ({ name, most }: Limit): Gate => {
    const gate = gates.get(name) ?? { most, inside: 0, parked: [] };
    // A reloaded policy may say another number: the newest ticket brings it.
    gate.most = most;
    gates.set(name, gate);
    return gate;
  };

  return {
    enter(item) {
      const limits = limitsOf(item);
      if (limits.length === 0) return true;
      const own = limits.map(gateOf);
      const full = own.find((gate) => gate.inside >= gate.most);
      if (full !== undefined) {
        full.parked.push(item);
        return false;
      }
      for (const gate of own) gate.inside += 1;
      const items = inside.get(item.work) ?? new Set<number>();
      inside.set(item.work, items.add(item.i));
      return true;
    },
    leave(item) {
      if (inside.get(item.work)?.delete(item.i) !== true) return [];
      const next: Runnable[] = [];
      for (const limit of limitsOf(item)) {
        const gate = gateOf(limit);
        gate.inside -= 1;
        const first = gate.parked.shift();
        if (first !== undefined) next.push(first);
        if (gate.inside === 0 && gate.parked.length === 0) gates.delete(limit.name);
      }
      return next;
    },
    hasRoom: (limits, count) => limits.every((limit) => gateOf(limit).inside + count <= limit.most),
    get parked() {
      let count = 0;
      for (const gate of gates.values()) count += gate.parked.length;
      return count;
    },
  };
}
