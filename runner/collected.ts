/** What a job gathers beside its predictions: counts of flags, the comparison with truth. */
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_SUMMARY_BYTES } from './limits.ts';
import type { OpenModel } from './model.ts';
import type { RowPlan, RowResults } from './rows.ts';
import { ClassCollector, type ClassSummary } from './uncertainty/classes.ts';
import { countFlags, type FlagCounts, noFlags } from './uncertainty/flags.ts';
import { L2Collector, type L2Summary } from './uncertainty/l2.ts';

/** What `rep.summary` says; the comparison is there when truth was given. */
export type RowsSummary = { readonly rows: number; readonly flagged: Partial<FlagCounts> } & (
  | { readonly n: 0 }
  | L2Summary
  | ClassSummary
);

export class Collected {
  readonly #flagged = noFlags();
  readonly #compared: L2Collector | ClassCollector | undefined;
  readonly #columns: number;

  constructor({ plan, open }: { readonly plan: RowPlan; readonly open: OpenModel }, withTruth: boolean) {
    this.#columns = plan.output.columns;
    if (!withTruth) return;
    const { axes, units, classes } = plan.output;
    const { groups, baselines = [] } = open.model;
    this.#compared =
      classes === undefined
        ? new L2Collector({ axes, units, groups, baselines })
        : new ClassCollector({ classes, groups });
  }

  add(rows: number, results: RowResults, truth: Float64Array | undefined): void {
    countFlags(this.#flagged, results.flags.subarray(0, rows));
    if (truth === undefined) return;
    const n = rows * this.#columns;
    this.#compared?.add({
      rows,
      predictions: results.predictions.subarray(0, n),
      truth,
      features: results.features.subarray(0, rows),
      baselines: results.baselines.map((values) => values.subarray(0, n)),
    });
  }

  summary(rows: number): RowsSummary {
    const flagged = Object.fromEntries(Object.entries(this.#flagged).filter(([, n]) => n > 0));
    const summary: RowsSummary = { rows, flagged, ...(this.#compared?.summary() ?? { n: 0 }) };
    const bytes = Buffer.byteLength(JSON.stringify(summary));
    if (bytes > MAX_SUMMARY_BYTES)
      throw new FarfieldError('E_MODEL', `the summary has ${bytes} bytes; declare fewer groups`);
    return summary;
  }
}
