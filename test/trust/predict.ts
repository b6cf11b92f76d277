/** A calibrated model in this process: the runner's own steps and its own judge of rows, one thread, no files of results. */
import { createOrt } from '../../runner/adapters/ort.ts';
import { chooseVariant, openModel, openOnnx } from '../../runner/model.ts';
import { compileRows, type RowResults } from '../../runner/rows.ts';
import { type OpenCalibration, openModelCalibration } from '../../runner/uncertainty/calibration.ts';
import { createRowJudge, type RowUncertainty } from '../../runner/uncertainty/judge.ts';
import type { UncertaintyStatistics } from '../../runner/uncertainty/statistics.ts';
import { judge, type Trust } from '../../runner/uncertainty/verdict.ts';

const BATCH = 128;

/** Everything that is known of a set of rows after the model and its calibration have spoken. */
export interface Judged {
  readonly predictions: Float32Array;
  readonly said: RowUncertainty;
  readonly flags: Uint8Array;
  readonly statistics: UncertaintyStatistics;
  readonly trust: Trust;
}

export interface TrustModel extends AsyncDisposable {
  readonly calibration: OpenCalibration;
  judge(samples: Float32Array, truth?: Float64Array): Promise<Judged>;
}

export async function openTrustModel(folder: string): Promise<TrustModel> {
  const open = openModel(folder);
  const variant = chooseVariant(open.model, undefined);
  const calibration = openModelCalibration(open, variant, false);
  if (calibration === undefined) throw new Error(`${folder}: names no error calibration`);
  const { model } = await openOnnx(open, variant.variant);
  const plan = compileRows(open.model);
  const adapter = createOrt();
  await adapter.load({ model, threads: 1 });
  const input = open.model.inputs[0] as (typeof open.model.inputs)[number];
  const output = (open.model.outputs[0] as (typeof open.model.outputs)[number]).name;
  const { size } = plan.sample;
  const { columns } = plan.output;
  return {
    calibration,
    async judge(samples, truth) {
      const rows = samples.length / size;
      const results: RowResults = {
        predictions: new Float32Array(rows * columns),
        flags: new Uint8Array(rows),
        features: new Float32Array(rows),
        baselines: Array.from({ length: plan.baselines }, () => new Float32Array(rows * columns)),
        signals: new Float32Array(rows * plan.signals),
      };
      const batch = new Float32Array(BATCH * size);
      for (let at = 0; at < rows; at += BATCH) {
        const n = Math.min(BATCH, rows - at);
        for (let i = 0; i < n; i++) plan.prepare(samples, at + i, batch, i, results);
        const answer = await adapter.infer(
          input.name,
          batch.subarray(0, n * size),
          [n, ...input.shape.slice(1)],
          output,
        );
        for (let i = 0; i < n; i++) plan.finish(answer, i, at + i, results);
      }
      const rowJudge = createRowJudge({ model: open.model, columns, calibration });
      const said = rowJudge.add(0, rows, results, truth);
      if (said === undefined) throw new TypeError('a calibration is there');
      const statistics = rowJudge.statistics();
      return {
        predictions: results.predictions,
        said,
        flags: results.flags,
        statistics,
        trust: judge(calibration, statistics),
      };
    },
    [Symbol.asyncDispose]: () => adapter.close(),
  };
}
