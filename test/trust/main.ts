/**
 * `npm run trust -- [--json] [--model FOLDER] [--real FILE] [--pairs N]`: whether the error calibration of BraggNN keeps what it
 * promises. No Python: peaks are simulated here.
 *
 * Invariants
 *  U1 Draws are seeded: two runs print the same figures, but for the cost, which is measured.
 *  U2 Rows that are judged were never calibrated on: they come from other seeds.
 *  U3 A set whose file is absent is named as skipped. Exit 1 where a bar is missed, 2 where the arguments are wrong.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { judge as judgeStatistics } from '../../runner/uncertainty/verdict.ts';
import { readSets, weaken } from '../accuracy/data.ts';
import { openModel } from '../accuracy/predict.ts';
import { type Figure, judge, table } from '../bench/figures.ts';
import { measureCost } from './cost.ts';
import { type Coverage, coverageOf } from './coverage.ts';
import { openTrustModel, type TrustModel } from './predict.ts';
import { judgeData, refuseSteps, UNSEEN } from './scenarios.ts';
import { C3, simulatePeaks } from './simulate.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FRESH_ROWS = 20_000;
const UNSEEN_ROWS = 10_000;
const BATCHES = 200;
const BATCH_ROWS = 1000;
const MOST_FALSE_ALARMS = 0.01;
const MOST_COST = 0.15;
const WEAKENING_SEED = 7;

type Figures = Record<string, Figure>;
type Print = (line: string) => void;

/** Coverage on rows like the calibration's, by group: inside the limits of the beta-binomial. */
export async function freshCoverage(model: TrustModel, rows: number, print: Print): Promise<Figures> {
  const { patches, trueXy } = simulatePeaks(C3, rows, createSeededRandom('fresh-1'));
  const judged = await model.judge(patches, trueXy);
  print(`fresh simulated peaks, ${rows} rows: ${judged.trust.state}`);
  const figures: Figures = {};
  for (const c of coverageOf(model, judged, trueXy)) {
    printCoverage(c, print);
    const name = `fresh_coverage_${c.level}_${c.group === 'all' ? 'all' : `lit_${c.group}`}`;
    figures[name] = { value: c.inside, unit: 'part', bar: c.low, more: true };
    figures[`${name}_not_above`] = { value: c.inside, unit: 'part', bar: c.high };
  }
  figures.fresh_trusted = { value: judged.trust.state === 'TRUSTED' ? 1 : 0, unit: 'is', bar: 1, more: true };
  return figures;
}

function printCoverage(
  { level, group, rows, inside, low, high, meanRadius }: Coverage,
  print: Print,
  like = true,
): void {
  const promised = like ? `promised ${low.toFixed(4)}..${high.toFixed(4)}  ` : '';
  print(
    `  ${level}  lit ${group.padEnd(4)} ${String(rows).padStart(6)} rows  inside ${inside.toFixed(4)}  ${promised}radius ${meanRadius.toFixed(4)} px`,
  );
}

/** The committed validation set, made by the Python simulator: statistics of the two simulators agree, or it is not trusted. */
async function validation(model: TrustModel, path: string, print: Print): Promise<Figures> {
  const { patches, true_xy } = await readSets(path, ['patches', 'true_xy']);
  const judged = await model.judge(Float32Array.from(patches), true_xy);
  print(`validation.h5, ${true_xy.length / 2} rows: ${judged.trust.state}`);
  for (const c of coverageOf(model, judged, true_xy)) printCoverage(c, print);
  return { validation_trusted: { value: judged.trust.state === 'TRUSTED' ? 1 : 0, unit: 'is', bar: 1, more: true } };
}

/** Real peaks are unlike the calibration's: what the radii are worth there is reported, and nothing is promised. */
async function weakened(model: TrustModel, folder: string, path: string, print: Print): Promise<Figures> {
  if (!existsSync(path)) {
    print('weakened real peaks: skipped, the file of real patches is not here (--real FILE)');
    return {};
  }
  await using accuracy = await openModel(folder);
  const { patches, peak_xy } = await readSets(path, ['patches', 'peak_xy']);
  const set = weaken(Float32Array.from(patches), peak_xy, accuracy, createSeededRandom(WEAKENING_SEED));
  const judged = await model.judge(set.patches, set.xy);
  print(`weakened real peaks, ${set.xy.length / 2} rows (another detector: no promise): ${judged.trust.state}`);
  const figures: Figures = {};
  for (const c of coverageOf(model, judged, set.xy)) {
    printCoverage(c, print, false);
    const name = `weakened_coverage_${c.level}_${c.group === 'all' ? 'all' : `lit_${c.group}`}`;
    figures[name] = { value: c.inside, unit: 'part' };
  }
  return figures;
}

/** Jobs that are like the calibration's must not be warned of. */
export async function falseAlarms(model: TrustModel, batches: number, print: Print): Promise<Figures> {
  const random = createSeededRandom('alarms-1');
  const alarms: string[] = [];
  let labelled = 0;
  for (let batch = 0; batch < batches; batch++) {
    const { patches, trueXy } = simulatePeaks(C3, BATCH_ROWS, random);
    const { trust, statistics } = await model.judge(patches, trueXy);
    if (trust.state !== 'TRUSTED') labelled++;
    const alone = judgeStatistics(model.calibration, { ...statistics, scores: null });
    if (alone.state !== 'TRUSTED') alarms.push(`${alone.state} (${alone.reasons.map(({ code }) => code).join(', ')})`);
  }
  print(`${batches} jobs of ${BATCH_ROWS} rows like the calibration's: ${alarms.length} alarms ${alarms.join('; ')}`);
  print(`  with labels: ${labelled}, of which the audit makes 1 in 100 by its construction`);
  return {
    false_alarms: { value: alarms.length / batches, unit: 'part', bar: MOST_FALSE_ALARMS },
    false_alarms_labelled: { value: labelled / batches, unit: 'part' },
  };
}

async function scenarios(model: TrustModel, folder: string, print: Print): Promise<Figures> {
  const figures: Figures = {};
  for (const { name, end, why } of [...(await judgeData(model)), ...(await refuseSteps(folder, systemClock))]) {
    print(`  ${name.padEnd(26)} ${end}: ${why}`);
    figures[`caught_${name}`] = {
      value: end === 'NOT_TRUSTED' || end === 'refused' ? 1 : 0,
      unit: 'is',
      bar: 1,
      more: true,
    };
  }
  return figures;
}

/** What the inputs do not show: the coverage that is left is reported, and labels must tell. */
async function unseen(model: TrustModel, print: Print): Promise<Figures> {
  const figures: Figures = {};
  for (const [name, recipe] of Object.entries(UNSEEN)) {
    const { patches, trueXy } = simulatePeaks(recipe, UNSEEN_ROWS, createSeededRandom(`unseen/${name}`));
    const judged = await model.judge(patches, trueXy);
    const alone = judgeStatistics(model.calibration, { ...judged.statistics, scores: null });
    const why = judged.trust.reasons.map(({ code }) => code).join(', ');
    print(`  ${name.padEnd(26)} without labels ${alone.state}; with labels ${judged.trust.state} (${why})`);
    for (const c of coverageOf(model, judged, trueXy).filter(({ group }) => group === 'all')) {
      printCoverage(c, print, false);
      figures[`unseen_${name}_coverage_${c.level}`] = { value: c.inside, unit: 'part' };
    }
    figures[`told_by_labels_${name}`] = {
      value: judged.trust.state === 'TRUSTED' ? 0 : 1,
      unit: 'is',
      bar: 1,
      more: true,
    };
  }
  return figures;
}

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
      model: { type: 'string', default: join(ROOT, 'models/braggnn') },
      real: { type: 'string', default: join(ROOT, '../shared/data/ruby-ff1-patches.h5') },
      pairs: { type: 'string', default: '15' },
    },
  });
  const print: Print = (line) => void process.stdout.write(`${line}\n`);
  if (values.help === true) {
    print('npm run trust -- [--json] [--model FOLDER] [--real FILE] [--pairs N]   exit 1: a bar is missed');
    return 0;
  }
  const data = join(values.model, 'validation.h5');
  await using model = await openTrustModel(values.model);
  const { value, digest } = model.calibration;
  print(
    `${value.model.name} ${value.model.version}, calibration ${digest.slice(0, 23)}…: ${value.n} rows, ${value.data.name}`,
  );
  const figures: Figures = {
    ...(await freshCoverage(model, FRESH_ROWS, print)),
    ...(await validation(model, data, print)),
    ...(await weakened(model, values.model, values.real, print)),
    ...(await scenarios(model, values.model, print)),
    ...(await unseen(model, print)),
    ...(await falseAlarms(model, BATCHES, print)),
  };
  const cost = await measureCost(values.model, data, Number(values.pairs), systemClock);
  figures.cost_wall = { value: cost.wall, unit: 'part', bar: MOST_COST };
  figures.cost_cpu = { value: cost.cpu, unit: 'part' };
  figures.plain_job = { value: cost.plainMs, unit: 'ms' };
  const judged = judge(figures);
  print(table(judged));
  if (values.json === true) print(JSON.stringify({ figures: judged }));
  return Object.values(judged).every(({ ok }) => ok) ? 0 : 1;
}

if (import.meta.main) {
  main(process.argv.slice(2)).then(
    (code) => process.exit(code),
    (reason: unknown) => {
      process.stderr.write(`${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}\n`);
      process.exit(2);
    },
  );
}
