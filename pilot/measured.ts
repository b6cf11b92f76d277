/**
 * What the pilot measured of an item, as the JSON of a Measured record (kernel/tokens/claims.ts).
 *
 * A receipt lists each distinct record once and has room for 64: so short inline items of one spec share one record, and
 * only items that take their time or read files have times and argument digests of their own.
 */
import type { Measured } from '#kernel/tokens/claims.ts';
import type { Lease } from './lease.ts';
import { LONG_ITEM_MS } from './limits.ts';
import type { Slot } from './slot.ts';
import type { LaunchSpec } from './spec.ts';

interface Place {
  readonly block: { readonly block: string };
  readonly node: string;
  readonly clock: { mono(): number };
}

/** What a slot measured of its runner. */
type Ran = Pick<Slot, 'modelDigest' | 'image' | 'network'>;

const shared = new WeakMap<LaunchSpec, { model: string | undefined; image: string | undefined; json: string }>();

function base(place: Place, spec: LaunchSpec, slot: Ran | undefined): Measured {
  const model = slot?.modelDigest;
  // The SIF that ran, not what was signed (the ticket says that): one OCI image can be converted to many SIFs.
  const image = slot?.image ?? spec.image;
  const network = slot?.network ?? (spec.runtime === 'process' ? 'host' : undefined);
  return {
    ...(spec.variant === '' ? {} : { variant: spec.variant }),
    ...(image === '' ? {} : { image }),
    ...(spec.manifest === '' ? {} : { manifest: spec.manifest }),
    ...(model === undefined ? {} : { model }),
    runtime: spec.runtime,
    ...(network === undefined ? {} : { network }),
    block: place.block.block,
    node: place.node,
  };
}

const round = (ms: number): number => Math.round(ms * 10) / 10;

export function measuredOf(place: Place, spec: LaunchSpec, lease?: Lease, slot?: Slot): string {
  const run = lease === undefined || lease.startedAt === 0 ? 0 : place.clock.mono() - lease.startedAt;
  if (lease !== undefined && (run >= LONG_ITEM_MS || lease.argDigests.length > 0)) {
    const waited = Math.max(0, (lease.startedAt || place.clock.mono()) - lease.receivedAt);
    const ms = {
      wait: round(waited),
      run: round(run),
      ...(slot !== undefined && slot.warmAt > lease.receivedAt ? { load: round(slot.loadMs) } : {}),
    };
    const args = lease.argDigests.length > 0 ? { args: [...lease.argDigests] } : {};
    return JSON.stringify({ ...base(place, spec, slot), ...args, ms });
  }
  const known = shared.get(spec);
  const model = slot?.modelDigest;
  const image = slot?.image;
  if (known !== undefined && known.model === model && known.image === image) return known.json;
  const json = JSON.stringify(base(place, spec, slot));
  shared.set(spec, { model, image, json });
  return json;
}
