/**
 * State machines as data: for every state and every event either a step or a refusal with its reason.
 *
 * Invariants
 *  S1 Total: the type of a table asks for an entry for every pair, so an event that nobody thought of does not compile.
 *  S2 Pure: a step names its effects, and whoever owns the state carries them out after the commit.
 *  S3 A refusal changes nothing.
 */

export interface Step<S extends string, F extends string> {
  readonly state: S;
  readonly effects: readonly F[];
}

export interface Refused {
  readonly refused: string;
}

export type Entry<S extends string, F extends string> = Step<S, F> | Refused;

export type Table<S extends string, E extends string, F extends string> = Readonly<
  Record<S, Readonly<Record<E, Entry<S, F>>>>
>;

/** A step to `state` with what is to be done then. */
export function to<S extends string, F extends string = never>(state: S, ...effects: F[]): Step<S, F> {
  return { state, effects };
}

/** No step: the reason is logged, and shown where somebody asked for it. */
export function no(refused: string): Refused {
  return { refused };
}

/** The entry of a pair. */
export function lookUp<S extends string, E extends string, F extends string>(
  table: Table<S, E, F>,
  state: S,
  event: E,
): Entry<S, F> {
  return table[state][event];
}
