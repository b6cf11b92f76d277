/**
 * The summary of a classifier: how often the most probable class is the true one, and how far its probabilities can be
 * believed.
 *
 * With p the row's probabilities and y its true class: accuracy = part of rows with argmax p = y, with Wilson's 95 % limits; log loss = mean of -ln p[y]; Brier score = mean of |p - e_y|^2, from 0 to 2 (Brier,
 * Mon. Weather Rev. 78, 1, 1950); reliability: rows by their highest probability in ten equal bins, beside the accuracy in
 * each; ece = mean distance of the two, weighted by rows.
 *
 * Invariants
 *  K1 A row without a known class (negative, or NaN), or whose probabilities are not numbers, enters no statistic.
 *  K2 A label that is no class of the model is an error of the caller, never a wrong answer of the model: `mustBeClasses`
 *     comes before anything is made of a block.
 *  K3 Everything merges exactly but for rounding: only counts and sums are kept, whatever the number of rows.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { wilsonLimits } from './conformal.ts';
import { type Figure, groupOf } from './l2.ts';

/** What a job's truth was found to be: the columns' names, and the feature that rows are grouped by. */
export interface ClassShape {
  readonly classes: readonly string[];
  readonly groups: { readonly by: string; readonly edges: readonly number[] } | undefined;
}

/** A block of rows as the summary sees it. */
export interface ClassBlock {
  readonly rows: number;
  /** One probability a class and row. */
  readonly predictions: Float32Array;
  /** One label a row. */
  readonly truth: Float64Array;
  readonly features: Float32Array;
}

export interface ClassGroup {
  /** Lower edge, and the next group's (absent in the last). */
  readonly from: number;
  readonly to?: number;
  readonly n: number;
  readonly accuracy: Figure;
  readonly logLoss: Figure;
}

/** Rows whose highest probability lies in one tenth of [0, 1]. */
export interface ReliabilityBin {
  readonly from: number;
  readonly to: number;
  readonly n: number;
  readonly confidence: number;
  readonly accuracy: number;
}

/** What `rep.summary` says of a classifier on rows with truth. */
export interface ClassSummary {
  readonly score: 'class_probability';
  readonly n: number;
  readonly classes: readonly string[];
  readonly accuracy: Figure;
  /** Wilson's limits of 95 %. */
  readonly accuracyLimits: readonly [number, number];
  readonly logLoss: Figure;
  readonly brier: Figure;
  readonly ece: Figure;
  /** What the best constant answer would reach: a classifier that does not beat it has learnt nothing. */
  readonly commonest: { readonly name: string; readonly accuracy: Figure };
  /** confusion[true][predicted], rows; left out where there are too many classes for a receipt. */
  readonly confusion?: readonly (readonly number[])[];
  readonly reliability: readonly ReliabilityBin[];
  readonly groups?: { readonly by: string; readonly bins: readonly ClassGroup[] };
}

/** A matrix of more classes would not fit a receipt beside the rest of the summary. */
export const MAX_CONFUSION_CLASSES = 16;
const BINS = 10;
/** Softmax in FP32 gives 0 below 1e-38; one such row must not make the loss of a million infinite. */
const LEAST_PROBABILITY = 1e-7;
/** Wilson's limits are of 95 %. */
const Z = 1.959964;

/** Sums over one set of rows. */
interface Sums {
  n: number;
  right: number;
  loss: number;
}

const noSums = (): Sums => ({ n: 0, right: 0, loss: 0 });

/** K2, for a block whose first row is row `from` of the input. */
export function mustBeClasses(from: number, labels: Float64Array, classes: readonly string[]): void {
  const last = classes.length - 1;
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row] as number;
    if (Number.isNaN(label) || (Number.isInteger(label) && label <= last)) continue;
    throw new FarfieldError(
      'E_INPUT',
      `label of row ${from + row} is ${label}; classes are whole numbers from 0 (${classes[0]}) to ${last} (${classes[last]}), negative where not known`,
    );
  }
}

/** Collects blocks; cheap enough for every job that has truth. */
export class ClassCollector {
  readonly #shape: ClassShape;
  readonly #all = noSums();
  readonly #groups: Sums[];
  readonly #bins = Array.from({ length: BINS }, () => ({ ...noSums(), confidence: 0 }));
  readonly #confusion: Float64Array;
  #brier = 0;

  constructor(shape: ClassShape) {
    this.#shape = shape;
    this.#groups = (shape.groups?.edges ?? []).map(noSums);
    this.#confusion = new Float64Array(shape.classes.length ** 2);
  }

  add({ rows, predictions, truth, features }: ClassBlock): void {
    const columns = this.#shape.classes.length;
    for (let row = 0; row < rows; row++) {
      const label = truth[row] as number;
      if (label >= 0) this.#addRow(predictions, row * columns, label, features[row] as number);
    }
  }

  #addRow(p: Float32Array, at: number, label: number, feature: number): void {
    const columns = this.#shape.classes.length;
    let top = 0;
    let square = 0;
    for (let c = 0; c < columns; c++) {
      const v = p[at + c] as number;
      if (v > (p[at + top] as number)) top = c;
      square += (v - (c === label ? 1 : 0)) ** 2;
    }
    if (!Number.isFinite(square)) return;
    const right = top === label ? 1 : 0;
    const loss = -Math.log(Math.max(p[at + label] as number, LEAST_PROBABILITY));
    this.#brier += square;
    const cell = label * columns + top;
    this.#confusion[cell] = (this.#confusion[cell] as number) + 1;
    const confidence = p[at + top] as number;
    const bin = this.#bins[Math.min(BINS - 1, Math.floor(confidence * BINS))];
    const group = this.#groups[groupOf(this.#shape.groups?.edges ?? [], feature)];
    for (const sums of [this.#all, bin, group]) {
      if (sums === undefined) continue;
      sums.n++;
      sums.right += right;
      sums.loss += loss;
    }
    if (bin !== undefined) bin.confidence += confidence;
  }

  summary(): ClassSummary {
    const { classes, groups } = this.#shape;
    const { n, right, loss } = this.#all;
    const columns = classes.length;
    const confusion = classes.map((_, i) => [...this.#confusion.subarray(i * columns, (i + 1) * columns)]);
    const of = confusion.map((row) => row.reduce((sum, count) => sum + count, 0));
    const most = of.indexOf(Math.max(...of));
    const reliability = this.#bins.flatMap(({ n, confidence, right }, i) =>
      n === 0
        ? []
        : [
            {
              from: i / BINS,
              to: (i + 1) / BINS,
              n,
              confidence: rounded(confidence / n),
              accuracy: rounded(right / n),
            },
          ],
    );
    const apart = reliability.reduce((sum, bin) => sum + bin.n * Math.abs(bin.confidence - bin.accuracy), 0);
    return {
      score: 'class_probability',
      n,
      classes,
      accuracy: part(right, n),
      accuracyLimits: limitsOf(right, n),
      logLoss: part(loss, n),
      brier: part(this.#brier, n),
      ece: part(apart, n),
      commonest: { name: classes[most] as string, accuracy: part(of[most] as number, n) },
      ...(columns > MAX_CONFUSION_CLASSES ? {} : { confusion }),
      reliability,
      ...(groups === undefined ? {} : { groups: { by: groups.by, bins: this.#groupSummaries(groups.edges) } }),
    };
  }

  #groupSummaries(edges: readonly number[]): ClassGroup[] {
    return this.#groups.map(({ n, right, loss }, i) => {
      const next = edges[i + 1];
      return {
        from: edges[i] as number,
        ...(next === undefined ? {} : { to: next }),
        n,
        accuracy: part(right, n),
        logLoss: part(loss, n),
      };
    });
  }
}

/** Seven significant digits, as in the L2 summary. */
const rounded = (value: number): number => Number(value.toPrecision(7));

/** Null where there are no rows, as in the L2 summary. */
const part = (sum: number, n: number): Figure => (n === 0 ? null : rounded(sum / n));

/** Of no rows: anything is possible. */
function limitsOf(right: number, n: number): readonly [number, number] {
  if (n === 0) return [0, 1];
  const [low, high] = wilsonLimits(right, n, Z);
  return [rounded(low), rounded(high)];
}
