/**
 * What happens when a runner is asked to end: it finishes if it can within the grace, else it lets go at once, so that time is left
 * to clean up before the scheduler's SIGKILL (Slurm: 30 s, PBS: 10 s by default). A second request ends the patience.
 */
import type { Clock, Timer } from '#base/clock.ts';

export class Stopping implements Disposable {
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #tell: (note: string) => void;
  #asked = false;
  #cancelled = false;
  #timer: Timer | undefined;
  #leftMs = Number.POSITIVE_INFINITY;
  #onCancel: (() => void) | undefined;

  constructor(clock: Clock, graceMs: number, tell: (note: string) => void) {
    this.#clock = clock;
    this.#graceMs = graceMs;
    this.#tell = tell;
  }

  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Called once, when the work must be let go; at once where it must already. */
  onCancel(run: () => void): void {
    this.#onCancel = run;
    if (this.#cancelled) run();
  }

  /** How far the work is. Before the first call nobody knows how long it takes, and a stop lets go. */
  progress(done: number, total: number, perSecond: number): void {
    this.#leftMs = perSecond > 0 ? ((total - done) / perSecond) * 1000 : Number.POSITIVE_INFINITY;
  }

  ask(): void {
    if (this.#cancelled) return;
    if (this.#asked || this.#leftMs > this.#graceMs) {
      this.#cancel();
      return;
    }
    this.#asked = true;
    this.#tell(`asked to stop: about ${Math.ceil(this.#leftMs / 1000)} s of work are left, which is finished`);
    this.#timer = this.#clock.after(this.#graceMs, () => this.#cancel());
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #cancel(): void {
    this.#cancelled = true;
    this.#timer?.cancel();
    this.#tell('asked to stop: this shard is left to be done again');
    this.#onCancel?.();
  }
}
