/** How long what pilots run takes, from the ends that they report: what placement learns paces and durations from. */
import type { Clock } from '#base/clock.ts';
import { splitKey, type Work } from './mirror.ts';
import { inFlightOf, type Placement } from './placement.ts';
import type { AttemptEnd, PilotPort } from './ports.ts';
import type { Specs } from './specs.ts';

export interface MeasuresOptions {
  readonly works: ReadonlyMap<number, Work>;
  readonly pilots: ReadonlyMap<number, PilotPort>;
  readonly placement: Pick<Placement, 'learn' | 'measure'>;
  readonly specs: Specs;
  readonly clock: Clock;
}

export interface Measures {
  /** A pilot was given something. */
  begin(pilotNo: number): void;
  forget(pilotNo: number): void;
  take(pilotNo: number, ends: readonly AttemptEnd[]): void;
}

export function createMeasures({ works, pilots, placement, specs, clock }: MeasuresOptions): Measures {
  /** Since when a pilot works on what it has, for the measurement of a spec's pace. */
  const busySince = new Map<number, number>();
  return {
    begin(pilotNo) {
      if (!busySince.has(pilotNo)) busySince.set(pilotNo, clock.mono());
    },
    forget: (pilotNo) => void busySince.delete(pilotNo),
    take(pilotNo, ends) {
      const pilot = pilots.get(pilotNo);
      const since = busySince.get(pilotNo);
      const first = ends[0] === undefined ? undefined : works.get(splitKey(ends[0].key).ticketNo);
      if (pilot === undefined || since === undefined || first === undefined) return;
      for (const { key, meas, status } of ends) {
        const work =
          status === 'succeeded' && meas.ms?.run !== undefined ? works.get(splitKey(key).ticketNo) : undefined;
        if (work !== undefined) placement.learn(specs.of(work).specNo, meas.ms?.run ?? 0);
      }
      const now = clock.mono();
      // What was cancelled would have taken longer, nobody knows how much.
      const ran = ends.filter(({ status }) => status !== 'cancelled').length;
      placement.measure(specs.of(first).specNo, ran, now - since, pilot.slots);
      if (inFlightOf(pilot) > ends.length) busySince.set(pilotNo, now);
      else busySince.delete(pilotNo);
    },
  };
}
