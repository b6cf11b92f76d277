/** How many rows lie inside their radius, overall and by group, beside what the calibration promises. */
import { coverageLimits } from '../../runner/uncertainty/conformal.ts';
import { NO_GROUP } from '../../runner/uncertainty/judge.ts';
import type { Judged, TrustModel } from './predict.ts';

/** A right calibration leaves the limits once in a thousand. */
const MISS = 0.001;

export interface Coverage {
  readonly level: number;
  /** `all`, or the group's lower edge. */
  readonly group: string;
  readonly rows: number;
  readonly inside: number;
  /** Of the beta-binomial; absent where rows are not exchangeable with the calibration's, so that nothing is promised. */
  readonly low: number;
  readonly high: number;
  readonly meanRadius: number;
}

/** Of rows with truth; groups without rows are left out. */
export function coverageOf({ calibration }: TrustModel, judged: Judged, truth: Float64Array): Coverage[] {
  const bins = calibration.value.groups?.bins ?? [];
  const groups = ['all', ...bins.map(({ from }) => String(from))];
  return judged.said.levels.flatMap((level, l) =>
    groups.flatMap((group, g) => {
      const found = count(judged, truth, l, g - 1);
      if (found.rows === 0) return [];
      const n = g === 0 ? calibration.value.n : (bins[g - 1]?.scores.n ?? 0);
      const { low, high } = coverageLimits(n, found.rows, level, MISS);
      return [{ level, group, ...found, low, high }];
    }),
  );
}

/** `group` -1 for all rows that are in some group. */
function count(
  { predictions, said }: Judged,
  truth: Float64Array,
  l: number,
  group: number,
): { rows: number; inside: number; meanRadius: number } {
  let [rows, inside, sum] = [0, 0, 0];
  for (let row = 0; row < truth.length / 2; row++) {
    const g = said.group[row] as number;
    if (g === NO_GROUP || (group >= 0 && g !== group)) continue;
    const dx = (predictions[2 * row] as number) - (truth[2 * row] as number);
    const dy = (predictions[2 * row + 1] as number) - (truth[2 * row + 1] as number);
    const radius = said.radius[row * said.levels.length + l] as number;
    rows++;
    sum += radius;
    if (Math.hypot(dx, dy) <= radius) inside++;
  }
  return { rows, inside: inside / rows, meanRadius: sum / rows };
}
