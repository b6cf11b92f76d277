/** What the runner says of how far to trust a job, rendered for a terminal: radii or sets by group, and the verdict. */

/** `rep.uncertainty`: of a model with an error calibration. */
export interface UncertaintyReport {
  readonly bounds: string;
  readonly units: string;
  readonly n: number;
  readonly levels: readonly number[];
  /** null: too few calibration rows for the level. */
  readonly groups: readonly {
    readonly from?: number;
    readonly n: number;
    readonly radius: readonly (number | null)[];
  }[];
}

/** `rep.trust`. */
export interface TrustReport {
  readonly state: string;
  readonly reasons: readonly {
    readonly code: string;
    readonly value: number;
    readonly limit: number;
    readonly feature?: string;
  }[];
}

/** Of a classifier a radius is what the true class may lack to 1: the rest is the least probability in the set. */
export function renderUncertainty({ bounds, units, n, levels, groups }: UncertaintyReport, classes: boolean): string {
  const cell = (radius: number | null): string => {
    if (radius === null) return 'unknown';
    return classes ? `p >= ${Math.max(0, 1 - radius).toFixed(3)}` : `${radius.toFixed(3)} ${units}`;
  };
  const head = classes ? 'classes that hold the true one' : 'radius';
  const rows = groups.map(({ from, radius }, i) => {
    const to = groups[i + 1]?.from;
    const name = from === undefined ? 'all rows' : to === undefined ? `from ${from}` : `${from} to ${to}`;
    return [name, ...radius.map(cell)];
  });
  const table = [[head, ...levels.map((level) => `in ${Number((100 * level).toFixed(2))} %`)], ...rows];
  const widths = table[0]?.map((_, c) => Math.max(...table.map((row) => row[c]?.length ?? 0))) ?? [];
  const lines = table.map((row) => `  ${row.map((text, c) => text.padEnd(widths[c] ?? 0)).join('  ')}`.trimEnd());
  return [...lines, `  bounded: ${bounds}; from ${n} calibration rows`].join('\n');
}

export function renderTrust({ state, reasons }: TrustReport): string {
  const lines = reasons.map(
    ({ code, value, limit, feature }) =>
      `    ${code.replaceAll('_', ' ')}${feature === undefined ? '' : ` of ${feature.replaceAll('_', ' ')}`}: ${Number(value.toPrecision(3))}, limit ${Number(limit.toPrecision(3))}`,
  );
  return [`  verdict ${state}`, ...lines].join('\n');
}
