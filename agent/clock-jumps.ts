/** How far the wall clock moved against the steady one between two looks: a clock that was set, or a machine that slept. */
import type { Clock } from '#base/clock.ts';

/** Milliseconds, forward positive, since the look before. The first look is now. */
export function createJumpLook(clock: Pick<Clock, 'now' | 'mono'>): () => number {
  let before = { wall: clock.now(), mono: clock.mono() };
  return () => {
    const now = { wall: clock.now(), mono: clock.mono() };
    const jumpMs = now.wall - before.wall - (now.mono - before.mono);
    before = now;
    return jumpMs;
  };
}
