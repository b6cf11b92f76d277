/** Where the output of each attempt stands, so that a reader can go on where it was. Old attempts are forgotten. */

/** Attempts that print at the same time; those beyond begin again at 0, which readers take for a new attempt's. */
const MAX_ATTEMPTS = 10_000;

export interface LogOffsets {
  /** The offset of these bytes. */
  next(attempt: string, bytes: number): number;
}

export function createLogOffsets(): LogOffsets {
  const offsets = new Map<string, number>();
  return {
    next(attempt, bytes) {
      const offset = offsets.get(attempt) ?? 0;
      offsets.set(attempt, offset + bytes);
      if (offsets.size > MAX_ATTEMPTS) offsets.delete(offsets.keys().next().value as string);
      return offset;
    },
  };
}
