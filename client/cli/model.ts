/**
 * `farfield model`: `init` describes an ONNX file, `calibrate` makes a model's error calibration from labelled rows; both by the
 * runner program that came with this command line. Nothing of the runner is loaded here: its code needs ONNX Runtime and HDF5, a login needs neither.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';

interface CalibrateOptions {
  readonly input: string;
  readonly labels?: string;
  readonly out?: string;
  readonly labelKind: string;
  readonly labelText?: string;
  readonly dataText?: string;
  readonly variant?: string;
  readonly write?: boolean;
}

interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** What the runner prints, as far as it is shown. */
interface Report {
  readonly ok: boolean;
  readonly error?: { readonly code: string; readonly message: string };
  readonly file?: { readonly file: string; readonly sha256: string };
  readonly model?: { readonly inputs: readonly NamedTensor[]; readonly outputs: readonly NamedTensor[] };
  readonly n?: number;
  readonly bounds?: string;
  readonly radii?: readonly {
    readonly from?: number;
    readonly n: number;
    readonly r90: number | null;
    readonly r95: number | null;
  }[];
  readonly notes?: readonly string[];
}

/** Beside this file in both forms: runner/main.ts as source, runner.mjs in a build. */
const RUNNER = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../runner/main.ts' : './runner.mjs', import.meta.url),
);

export const register: RegisterVerb = (program, context) => {
  const model = program.command('model').description('work on a model of your own');
  registerInit(model, context);
  model
    .command('calibrate')
    .description('make the error calibration of a model folder from rows whose right answer is known')
    .argument('<folder>', 'the model’s folder (with model.json)')
    .requiredOption('--input <file[:/dataset]>', 'rows that the model was never trained on')
    .option('--labels <file[:/dataset]>', 'the right answer of each row')
    .option('--label-kind <kind>', 'truth: where things are; fit: what a fit said', 'truth')
    .option('--label-text <words>', 'what the labels are: it says what a radius bounds')
    .option('--data-text <words>', 'what the rows are')
    .option('--variant <name>', 'the variant to calibrate')
    .option('--out <file>', 'where to write it (calibration.json in the folder)')
    .option('--write', 'name the file in model.json')
    .action(async (folder: string, options: CalibrateOptions, command: Command) => {
      const report = await run(context, argsOf(context, folder, options));
      if (options.write === true && report.file !== undefined) nameIt(resolve(context.cwd, folder), report.file.sha256);
      if (command.optsWithGlobals().json === true) writeJson(context.stdout, report);
      else tell(context, report, options.write === true);
    });
};

interface InitOptions {
  readonly name?: string;
  readonly modelVersion?: string;
  readonly shape?: string;
  readonly golden?: boolean;
  readonly force?: boolean;
}

function registerInit(model: Command, context: CliContext): void {
  model
    .command('init')
    .description('write the model.json of an ONNX file, with what the file says of its input and output')
    .argument('<file>', 'the ONNX file; model.json is written beside it')
    .option('--name <name>', 'the model’s name (that of the file)')
    .option('--model-version <version>', 'the model’s version', '0.1.0')
    .option('--shape <n,n>', 'lengths of one row’s axes that the file leaves free')
    .option('--golden', 'also make the check that every later start must pass, of seeded rows')
    .option('--force', 'replace a model.json that exists')
    .action(async (file: string, options: InitOptions, command: Command) => {
      const { name, modelVersion, shape, golden, force } = options;
      const report = await run(context, [
        ...['init', resolve(context.cwd, file)],
        ...(name === undefined ? [] : ['--name', name]),
        ...(modelVersion === undefined ? [] : ['--version', modelVersion]),
        ...(shape === undefined ? [] : ['--shape', shape]),
        ...(golden === true ? ['--golden'] : []),
        ...(force === true ? ['--force'] : []),
      ]);
      if (command.optsWithGlobals().json === true) return writeJson(context.stdout, report);
      const { inputs = [], outputs = [] } = report.model ?? {};
      for (const [side, tensors] of [['input ', inputs] as const, ['output', outputs] as const])
        for (const tensor of tensors)
          writeLine(context.stdout, `${side}  ${plain(tensor.name)} FP32 [${tensor.shape.join(', ')}]`);
      for (const note of report.notes ?? []) writeLine(context.stderr, plain(note));
    });
}

function argsOf({ cwd }: CliContext, folder: string, options: CalibrateOptions): string[] {
  const { input, labels, out, labelKind, labelText, dataText, variant, write } = options;
  if (labels === undefined) {
    throw usage(
      '--labels is missing: an error calibration needs rows whose right answer is known, one label a row (FILE.h5:/dataset)',
    );
  }
  if (labelKind !== 'truth' && labelKind !== 'fit')
    throw usage('--label-kind is truth (where things are) or fit (what a fit said)');
  const root = resolve(cwd, folder);
  const file = out === undefined ? join(root, 'calibration.json') : resolve(cwd, out);
  if (write === true && file !== join(root, 'calibration.json'))
    throw usage('--write names calibration.json of the folder in model.json; leave --out away');
  // Under the old digest every later start would refuse the model.
  if (write !== true && file === namedCalibration(root))
    throw usage(
      `${file} is the calibration that model.json names: write elsewhere with --out FILE, or replace it and its name with --write`,
    );
  return [
    'calibrate',
    ...['--model', root, '--input', placed(cwd, input), '--labels', placed(cwd, labels), '--out', file],
    ...['--label-kind', labelKind],
    ...(labelText === undefined ? [] : ['--label-text', labelText]),
    ...(dataText === undefined ? [] : ['--data-text', dataText]),
    ...(variant === undefined ? [] : ['--variant', variant]),
  ];
}

/** Undefined where there is none, or no model.json that can be read: the runner says so. */
function namedCalibration(folder: string): string | undefined {
  try {
    const model = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as {
      uncertainty?: { calibration?: { file?: unknown } };
    };
    const file = model.uncertainty?.calibration?.file;
    return typeof file === 'string' ? join(folder, file) : undefined;
  } catch {
    return undefined;
  }
}

/** FILE[:/dataset] with the file made absolute. */
function placed(cwd: string, text: string): string {
  const cut = text.indexOf(':/', 1);
  return cut < 0 ? resolve(cwd, text) : `${resolve(cwd, text.slice(0, cut))}${text.slice(cut)}`;
}

/** Starts the runner, waits for its line of JSON. Ctrl-C ends it with us. */
async function run(context: CliContext, args: readonly string[]): Promise<Report> {
  if (!existsSync(RUNNER))
    throw new FarfieldError('E_UNAVAILABLE', 'the runner program is not installed beside this one');
  const child = spawn(process.execPath, [RUNNER, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: context.signal,
  });
  let out = '';
  let log = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  await new Promise<void>((done, fail) => {
    child.once('error', fail);
    child.once('close', () => done());
  });
  const report = parse(out);
  if (report === undefined)
    throw new FarfieldError('E_INTERNAL', `the runner ended without an answer: ${plain(log).slice(0, 400)}`);
  if (report.ok) return report;
  const { code = '', message = 'no reason was given' } = report.error ?? {};
  throw new FarfieldError(isErrorCode(code) ? code : 'E_INTERNAL', plain(message));
}

function parse(text: string): Report | undefined {
  try {
    return JSON.parse(text) as Report;
  } catch {
    return undefined;
  }
}

/** Puts the file's digest into model.json; everything else of it stays. */
function nameIt(folder: string, sha256: string): void {
  const path = join(folder, 'model.json');
  const model = JSON.parse(readFileSync(path, 'utf8')) as { uncertainty?: object; outputs: { classes?: unknown }[] };
  const score = model.outputs[0]?.classes === undefined ? 'l2' : 'class_probability';
  model.uncertainty = { score, ...model.uncertainty, calibration: { file: 'calibration.json', sha256 } };
  const aside = `${path}.part`;
  writeFileSync(aside, `${JSON.stringify(model, undefined, 2)}\n`);
  renameSync(aside, path);
}

/** A table for people: what the radii are, and what they bound. */
function tell({ stdout, stderr }: CliContext, report: Report, written: boolean): void {
  const { n = 0, bounds = '', radii = [], notes = [], file } = report;
  writeLine(stdout, `${n} rows; a radius bounds the distance to the ${plain(bounds)}`);
  for (const { from, n: rows, r90, r95 } of radii) {
    const name = from === undefined ? 'all rows' : `from ${from}`;
    writeLine(
      stdout,
      `  ${name.padEnd(12)} ${String(rows).padStart(8)} rows  90 % ${r90 ?? 'infinite'}  95 % ${r95 ?? 'infinite'}`,
    );
  }
  for (const note of notes) writeLine(stderr, plain(note));
  if (file === undefined) return;
  if (written) writeLine(stdout, 'model.json names it');
  else writeLine(stdout, `name it in model.json: "uncertainty": { "calibration": ${JSON.stringify(file)} }`);
}
