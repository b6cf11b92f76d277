/**
 * `npm run demo`: a scientist's job goes the whole way on this machine, on real parts and with every check in force.
 *
 * Uses the verbs that a user types, a temporary state folder, and leaves nothing running, whatever happens on the way.
 */
import { mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { exitCodeOf, usage } from '#base/cli.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { splitFile } from '../cli/args.ts';
import { deploy } from './deploy.ts';
import { type DataPlace, DEFAULT_MODEL, readModel, type ShownModel } from './model.ts';
import { checkData, drawAll } from './pictures.ts';
import { openSlurm } from './slurm.ts';
import { type Ground, openStage, type Stage } from './stage.ts';
import { type Report, renderPhases, renderReport } from './summary.ts';
import { renderTrust, renderUncertainty, type TrustReport, type UncertaintyReport } from './uncertainty.ts';

const HELP = `npm run demo [-- OPTIONS]

Starts a broker, an endpoint and a scientist on this machine, runs a model over its validation rows by a signed call (BraggNN
over 13,799 diffraction patches), verifies the endpoint's receipt, and shows how far the predictions lie from the truth.

  --model DIR                a folder with a model.json (models/braggnn; models/spectra is another)
  --input FILE.h5:/DATASET   your own rows in the shape that the model takes; uploaded to the broker
  --truth /DATASET           what is true of them, in the same file: the answer's columns ([n, 2] px for BraggNN), or
                             [n] classes as whole numbers for a classifier
  --out DIR                  where pictures and predictions go (./farfield-demo)
  --slurm                    on a virtual cluster: real Slurm, real Apptainer, five hosts of namespaces (root and apt)
  --json                     one JSON object as the last line
  --help
`;

interface Job {
  readonly model: ShownModel;
  readonly samples: DataPlace;
  readonly truth: DataPlace | undefined;
  /** The built-in data lie at the endpoint; a file of yours is uploaded. */
  readonly uploaded: boolean;
}

interface Done {
  readonly id: string;
  readonly meas: { readonly ms?: Readonly<Record<string, number>> };
  readonly rep: {
    readonly phases: Readonly<Record<string, number>>;
    readonly summary: Report;
    /** Of a model with an error calibration. */
    readonly uncertainty?: UncertaintyReport | null;
    readonly trust?: TrustReport | null;
  };
  readonly receipt: { readonly id: string; readonly verified: boolean; readonly endpoint: string };
}

function readJob(model: ShownModel, input: string | undefined, truth: string | undefined): Job {
  if (input === undefined) {
    const { validation } = model;
    if (validation === undefined)
      throw usage(`the model ${model.name} comes without validation rows; give yours with --input FILE.h5:/DATASET`);
    const { samples } = validation;
    return {
      model,
      samples,
      truth: { ...validation.truth, ...(truth === undefined ? {} : { dataset: truth }) },
      uploaded: false,
    };
  }
  const { path, sel } = splitFile(input);
  const file = resolve(path);
  if (sel === undefined)
    throw usage(`--input takes FILE.h5:/DATASET; which data set of ${path} holds the ${model.view.rows}?`);
  if (statSync(file, { throwIfNoEntry: false })?.isFile() !== true)
    throw new FarfieldError('E_INPUT', `there is no file ${file}`);
  return {
    model,
    samples: { file, dataset: sel },
    truth: truth === undefined ? undefined : { file, dataset: truth },
    uploaded: true,
  };
}

async function runJob(
  stage: Stage,
  manifest: string,
  job: Job,
  predictions: string,
): Promise<{ done: Done; wallMs: number }> {
  const at = ({ file, dataset }: DataPlace): string => `${job.uploaded ? '' : 'endpoint:'}${file}:${dataset}`;
  const args = ['run', manifest, '--endpoint', 'demo', '--arg', `${job.model.arg}=${at(job.samples)}`];
  if (job.truth !== undefined) args.push('--arg', `truth=${at(job.truth)}`);
  stage.note(
    `5. The scientist calls the model; the data ${job.uploaded ? 'go to the broker as a blob' : 'stay at the endpoint'}.`,
  );
  const startedAt = performance.now();
  const done = await stage.step('scientist', [...args, '--out', predictions], (r) => {
    const { receipt, id, attempt } = r as unknown as Done & { attempt: number };
    return `invocation ${id} succeeded at attempt ${attempt}; receipt verified: signed by ${receipt.endpoint.slice(0, 12)}…`;
  });
  return { done: done as unknown as Done, wallMs: performance.now() - startedAt };
}

/** Where the wall time went. Transfer is what is left: this command's own start, links, commits, up- and downloads. */
function phasesOf({ meas, rep }: Done, wallMs: number): Record<string, number> {
  const { wait = 0, run = 0, load = 0 } = meas.ms ?? {};
  const { postMs = 0, writeMs = 0 } = rep.phases;
  const round = (ms: number): number => Math.round(Math.max(0, ms) * 10) / 10;
  return {
    queue: round(wait - load),
    start: round(load),
    compute: round(run - postMs - writeMs),
    postprocess: round(postMs + writeMs),
    transfer: round(wallMs - wait - run),
  };
}

/** The figures of a job with truth; which they are follows from what the model answers. */
function figuresOf(summary: Report): Record<string, unknown> {
  if (summary.score === 'class_probability') {
    const { accuracy, accuracyLimits, logLoss, brier, ece, commonest, confusion } = summary;
    return { classes: { accuracy, accuracyLimits, logLoss, brier, ece, commonest, confusion } };
  }
  const { mean, std, p50, p75, p95, p995, bias, baselines } = summary;
  return { l2: { mean, std, p50, p75, p95, p995 }, bias, baselines: baselines ?? {} };
}

function report(
  done: Done,
  job: Job,
  phasesMs: Record<string, number>,
  files: readonly string[],
): Record<string, unknown> {
  const { summary } = done.rep;
  const known = job.truth !== undefined;
  return {
    model: job.model.name,
    n: known ? summary.n : (summary as unknown as { rows: number }).rows,
    ...(known ? figuresOf(summary) : { l2: null, bias: null, baselines: null }),
    trust: done.rep.trust?.state ?? null,
    phasesMs,
    // A receipt for another ticket than the one that was signed here would not have ended the call.
    ticket: { id: done.id, verified: done.receipt.verified },
    receipt: { id: done.receipt.id, verified: done.receipt.verified, endpoint: done.receipt.endpoint },
    files,
  };
}

async function demo(stage: Stage, job: Job, out: string, json: boolean, ground: Ground | undefined): Promise<void> {
  const { manifest } = await deploy(stage, job.model, job.uploaded ? [] : [job.samples.file], ground);
  mkdirSync(out, { recursive: true });
  const predictions = join(out, 'predictions.h5');
  const { done, wallMs } = await runJob(stage, manifest, job, predictions);
  const { summary } = done.rep;
  const { model, samples, truth } = job;
  const pictures = await drawAll(out, model, { samples, truth, predictions }, summary);
  const phasesMs = phasesOf(done, wallMs);
  stage.note('');
  if (truth === undefined) stage.note('  no truth was given: predictions without an error summary');
  else stage.note(renderReport(summary, model.view.rows));
  const { uncertainty, trust: verdict } = done.rep;
  if (uncertainty) stage.note(`\n${renderUncertainty(uncertainty, model.classes !== undefined)}`);
  if (verdict) stage.note(`\n${renderTrust(verdict)}`);
  stage.note(`\n${renderPhases(phasesMs)}`);
  stage.note(`\n  ticket  ${done.id}  verified by the endpoint's policy, bound by its receipt`);
  stage.note(`  receipt ${done.receipt.id}  verified: signed by endpoint ${done.receipt.endpoint}`);
  const files = [predictions, ...pictures];
  for (const file of files) stage.note(`  wrote   ${file}`);
  if (json) process.stdout.write(`${JSON.stringify(report(done, job, phasesMs, files))}\n`);
}

/** A person who leaves early leaves nothing running either, however often they press Ctrl-C and even if the terminal is gone. */
function leaveClean(stage: Stage): void {
  let leaving = false;
  const leave = (): void => {
    process.stderr.write('stopping what was started: a few seconds\n');
    if (leaving) return;
    leaving = true;
    void stage[Symbol.asyncDispose]().then(() => process.exit(130));
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, leave);
  // A closed terminal or pipe: what is written goes nowhere, and the end is the same.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', leave);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        model: { type: 'string' },
        input: { type: 'string' },
        truth: { type: 'string' },
        out: { type: 'string' },
        slurm: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (cause) {
    throw usage(`${(cause as Error).message}. \`npm run demo -- --help\` lists the options`);
  }
}

async function main(): Promise<number> {
  const values = readOptions();
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const model = readModel(values.model === undefined ? DEFAULT_MODEL : resolve(values.model));
  const job = readJob(model, values.input, values.truth);
  await checkData(job.truth === undefined ? [job.samples] : [job.samples, job.truth]);
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  const ground = values.slurm === true ? await openSlurm(write) : undefined;
  const stage = openStage(write, ground);
  leaveClean(stage);
  try {
    await demo(stage, job, resolve(values.out ?? 'farfield-demo'), values.json === true, ground);
    return 0;
  } finally {
    await stage[Symbol.asyncDispose]();
  }
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (reason: unknown) => {
    process.stderr.write(`demo: ${reason instanceof Error ? reason.message : String(reason)}\n`);
    process.exitCode = reason instanceof FarfieldError ? exitCodeOf(reason) : 1;
  },
);
