/**
 * Counters, histograms and gauges as Prometheus' text format 0.0.4, for every process that is watched.
 *
 * Invariants
 *  M1 Every label has a closed set of values that is known when the metric is made: no principal, function, node or block is a
 *     label, because each new value would be a new series for ever. What is not in the set is counted as `other`.
 *  M2 A series is there from the start, at 0, so that its first event shows as an increase. Sparse counters are the exception:
 *     with many labels most combinations never happen, and they would be most of the page.
 *  M3 Counting costs an addition. Gauges are read when somebody asks.
 *
 * Not prom-client: it keeps a registry for the whole process, which tests and two servers in one process would share.
 */

export interface Counter {
  /** Values of the labels, in their order. */
  add(values: readonly string[], by?: number): void;
}

export interface Histogram {
  observe(value: number, count?: number): void;
}

export interface CounterOptions {
  /** Shown from its first event on, not from the start (M2). */
  readonly sparse?: boolean;
}

interface Series {
  lines(): string[];
}

export interface Registry {
  counter(
    name: string,
    help: string,
    labels?: Readonly<Record<string, readonly string[]>>,
    options?: CounterOptions,
  ): Counter;
  histogram(name: string, help: string, bounds: readonly number[]): Histogram;
  text(): string;
}

/** Whatever is not in a label's set is counted under this word. */
export const OTHER = 'other';

const labelText = (names: readonly string[], values: readonly string[]): string =>
  names.length === 0 ? '' : `{${names.map((name, k) => `${name}="${values[k] ?? OTHER}"`).join(',')}}`;

const head = (name: string, help: string, type: string): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${type}`,
];

/** All combinations of the labels' values: a series that is there from the start shows its first event as an increase. */
function combinations(sets: readonly (readonly string[])[]): string[][] {
  return sets.reduce<string[][]>((all, set) => all.flatMap((start) => set.map((value) => [...start, value])), [[]]);
}

export function createRegistry(): Registry {
  const series: Series[] = [];
  return {
    counter(name, help, labels = {}, { sparse = false } = {}) {
      const names = Object.keys(labels);
      const sets = names.map((label) => [...(labels[label] ?? []), OTHER]);
      const counts = new Map(
        (sparse ? [] : combinations(sets))
          .filter((values) => !values.includes(OTHER))
          .map((values) => [labelText(names, values), 0]),
      );
      series.push({
        lines: () => [
          ...head(name, help, 'counter'),
          ...[...counts].map(([label, count]) => `${name}${label} ${count}`),
        ],
      });
      return {
        add(values, by = 1) {
          const known = values.map((value, k) => (sets[k]?.includes(value) === true ? value : OTHER));
          const label = labelText(names, known);
          counts.set(label, (counts.get(label) ?? 0) + by);
        },
      };
    },
    histogram(name, help, bounds) {
      const counts = new Float64Array(bounds.length + 1);
      let sum = 0;
      series.push({
        lines() {
          let below = 0;
          const lines = bounds.map((bound, k) => {
            below += counts[k] ?? 0;
            return `${name}_bucket{le="${bound}"} ${below}`;
          });
          below += counts[bounds.length] ?? 0;
          return [
            ...head(name, help, 'histogram'),
            ...lines,
            `${name}_bucket{le="+Inf"} ${below}`,
            `${name}_sum ${sum}`,
            `${name}_count ${below}`,
          ];
        },
      });
      return {
        observe(value, count = 1) {
          const k = bounds.findIndex((bound) => value <= bound);
          counts[k < 0 ? bounds.length : k] = (counts[k < 0 ? bounds.length : k] ?? 0) + count;
          sum += value * count;
        },
      };
    },
    text: () =>
      series
        .flatMap((each) => each.lines())
        .map((line) => `${line}\n`)
        .join(''),
  };
}

export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly values: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[];
}

export function gaugeText(gauges: readonly Gauge[]): string {
  return gauges
    .flatMap(({ name, help, values }) => [
      ...head(name, help, 'gauge'),
      ...values.map(
        ({ labels = {}, value }) => `${name}${labelText(Object.keys(labels), Object.values(labels))} ${value}`,
      ),
    ])
    .map((line) => `${line}\n`)
    .join('');
}
