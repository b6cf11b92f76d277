/** `farfield-runner calibrate`: its arguments, and its one line of JSON. */
import { parseArgs } from 'node:util';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { EXIT, exitOf } from '../exits.ts';
import { threadsProblem } from '../limits.ts';
import { openScratch } from '../scratch.ts';
import { calibrate } from './calibrate.ts';

export const CALIBRATE_USAGE =
  'farfield-runner calibrate --model DIR --input FILE[:/dataset] --labels FILE[:/dataset] --out FILE\n' +
  '  [--label-kind truth|fit] [--label-text WORDS] [--data-text WORDS] [--made-text WORDS] [--variant NAME] [--threads N]\n';

export interface CommandOutput {
  readonly clock: Clock;
  readonly threads: number;
  /** Findings, for programs. */
  readonly print: (text: string) => void;
  /** Usage, for people. */
  readonly complain: (text: string) => void;
}

const OPTIONS = {
  model: { type: 'string' },
  input: { type: 'string' },
  labels: { type: 'string' },
  out: { type: 'string' },
  'label-kind': { type: 'string' },
  'label-text': { type: 'string' },
  'data-text': { type: 'string' },
  'made-text': { type: 'string' },
  variant: { type: 'string' },
  threads: { type: 'string' },
} as const;

type Values = { readonly [K in keyof typeof OPTIONS]?: string | undefined };

/** Answers an exit code of exits.ts. */
export async function runCalibrate(args: readonly string[], output: CommandOutput): Promise<number> {
  const values = parse(args, output);
  const problem = values === undefined ? '' : usageProblem(values);
  if (values === undefined || problem !== undefined) {
    output.complain(`${problem ?? ''}${problem ? '\n' : ''}${CALIBRATE_USAGE}`);
    return EXIT.usage;
  }
  try {
    using scratch = openScratch('calibrate');
    const report = await calibrate({
      model: values.model as string,
      input: values.input as string,
      labels: values.labels as string,
      out: values.out as string,
      variant: values.variant,
      labelKind: (values['label-kind'] ?? 'truth') as 'truth' | 'fit',
      labelText: values['label-text'],
      dataText: values['data-text'],
      madeText: values['made-text'],
      threads: values.threads === undefined ? output.threads : Number(values.threads),
      scratchDir: scratch.path,
      clock: output.clock,
    });
    output.print(`${JSON.stringify({ ok: true, ...report })}\n`);
    return EXIT.ok;
  } catch (reason) {
    if (!(reason instanceof FarfieldError)) throw reason;
    output.print(`${JSON.stringify({ ok: false, error: { code: reason.code, message: reason.message } })}\n`);
    return exitOf(reason.code);
  }
}

function parse(args: readonly string[], { complain }: CommandOutput): Values | undefined {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (reason) {
    complain(`${reason instanceof Error ? reason.message : String(reason)}\n`);
    return undefined;
  }
}

/** What is missing or does not fit; undefined where nothing is. */
function usageProblem(values: Values): string | undefined {
  for (const name of ['model', 'input', 'labels', 'out'] as const) {
    if (values[name] !== undefined) continue;
    return name === 'labels'
      ? '--labels is missing: an error calibration needs rows whose right answer is known'
      : `--${name} is missing`;
  }
  const kind = values['label-kind'];
  if (kind !== undefined && kind !== 'truth' && kind !== 'fit')
    return '--label-kind is truth (where things are) or fit (what a fit said)';
  return values.threads === undefined ? undefined : threadsProblem(Number(values.threads || Number.NaN));
}
