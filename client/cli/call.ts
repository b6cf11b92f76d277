/** A call as `run` and `submit` take it: options, manifest, arguments, terms. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type CliContext, usage } from '#base/cli.ts';
import { argsRefusal } from '#kernel/admission-steps.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { DEFAULT_MAX_FAILURES, DEFAULT_TICKET_LIFE_S, EXTRA_STARTS } from '#kernel/limits.ts';
import { type Manifest, openManifest } from '#kernel/tokens/manifest.ts';
import { measureFile } from '../ts/blobs.ts';
import type { Client, SignedCall, SubmitInput, Submitted } from '../ts/client.ts';
import type { TicketTerms } from '../ts/submission.ts';
import { argHead, readArg } from './args.ts';
import { type ClientSetting, parseDuration, resolveEndpoint } from './common.ts';
import type { ProgressLine } from './progress.ts';

export interface CallOptions {
  readonly endpoint: string;
  readonly arg?: readonly string[];
  readonly timeout: string;
  readonly life?: string;
  readonly nodes: string;
  readonly cpus: string;
  readonly gpus: string;
  readonly memory: string;
  readonly maxFailures: string;
  readonly maxStarts?: string;
  readonly seed?: string;
  readonly maxBytes: string;
  readonly uncertainty: string;
  readonly samples: string;
  readonly level: string;
}

export function callOptions(command: Command): Command {
  return command
    .argument('<manifest>', 'the signed manifest of a function or model (from its publisher)')
    .requiredOption('--endpoint <name>', 'where to run: a pinned name, or an endpoint id')
    .option('--arg <name=value...>', 'NAME=FILE[:/DATASET], NAME=endpoint:/PATH[:/DATASET], or NAME=json:TEXT')
    .option('--timeout <duration>', 'longest run of one attempt', '10m')
    .option(
      '--life <duration>',
      `until when it may start (default: ${DEFAULT_TICKET_LIFE_S / 3600}h, after what \`login --queue-for\` lets it wait)`,
    )
    .option('--nodes <n>', 'nodes of one block, for a function of kind mpi', '1')
    .option('--cpus <n>', 'cores, of each node', '2')
    .option('--gpus <n>', 'GPUs', '0')
    .option('--memory <MiB>', 'memory', '1024')
    .option('--max-failures <n>', 'charged failures before it ends', String(DEFAULT_MAX_FAILURES))
    .option('--max-starts <n>', 'starts of any kind before it ends; 1 means at most once')
    .option('--seed <n>', 'seed for functions that draw random numbers')
    .option('--max-bytes <n>', 'largest result', String(1024 ** 3))
    .option(
      '--uncertainty <method>',
      'l2 (radii where the model is calibrated), none, conformal (refused without a calibration), or symmetry (some rows predicted under all symmetries too)',
      'l2',
    )
    .option('--level <p>', 'a further level of the radii, beside .9 and .95', '0.95')
    .option('--samples <n>', 'rows for --uncertainty symmetry; 0 takes a twentieth, at most 512', '0');
}

export function wholeNumber(text: string, what: string, least = 0): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < least)
    throw usage(`${what} is a whole number${least === 0 ? '' : ` of at least ${least}`}, not "${text}"`);
  return value;
}

/** Reads the manifest and the arguments (uploading large ones), and submits. */
export async function submitCall(
  context: CliContext,
  setting: ClientSetting,
  manifestPath: string,
  options: CallOptions,
  line: ProgressLine,
): Promise<Submitted> {
  const { client } = setting;
  return client.submit(await readCall(context, setting, manifestPath, options, client, line));
}

/** The same call signed and sent nowhere; large files are measured where they lie. */
export async function signCall(
  context: CliContext,
  setting: ClientSetting,
  manifestPath: string,
  options: CallOptions,
  line: ProgressLine,
): Promise<SignedCall> {
  const measure = { uploadFile: measureFile };
  return setting.client.sign(await readCall(context, setting, manifestPath, options, measure, line));
}

/** What a person can be told at once, before anything is sent: names, types and what is missing. */
function checkArgs(manifest: Pick<Manifest, 'claims'>, texts: readonly string[]): void {
  const refusal = argsRefusal(manifest, texts.map(argHead));
  if (refusal === undefined) return;
  const { name, args } = manifest.claims;
  const takes = args.map(
    (arg) => `${arg.name} (${arg.types.join(' or ')}${arg.optional === true ? ', optional' : ''})`,
  );
  throw usage(`${refusal.message}; ${name} takes ${takes.length === 0 ? 'no arguments' : takes.join(', ')}`);
}

async function readCall(
  context: CliContext,
  { client, home }: ClientSetting,
  manifestPath: string,
  options: CallOptions,
  to: Pick<Client, 'uploadFile'>,
  line: ProgressLine,
): Promise<SubmitInput> {
  const text = await readFile(resolve(context.cwd, manifestPath), 'utf8').catch((cause: unknown) => {
    throw new FarfieldError('E_INPUT', `cannot read the manifest ${manifestPath}. Is the path right?`, { cause });
  });
  const { claims, digest } = openManifest(text, []);
  checkArgs({ claims }, options.arg ?? []);
  const terms = termsOf(options);
  const endpoint = await resolveEndpoint(context, home, options.endpoint);
  if (to === client) await client.connect();
  const args = [];
  for (const arg of options.arg ?? []) args.push(await readArg(context, to, arg, line));
  return {
    manifest: text,
    items: [{ args, ...(options.seed === undefined ? {} : { seed: wholeNumber(options.seed, '--seed') }) }],
    ...(options.life === undefined ? {} : { lifeS: parseDuration(options.life) }),
    terms: {
      endpoint,
      subject: client.subject,
      delegation: client.delegation,
      fn: { name: claims.name, version: claims.version, manifest: digest },
      models: claims.models,
      ...terms,
    },
  };
}

const METHODS = ['l2', 'none', 'conformal', 'symmetry'];

function uncertaintyOf({ uncertainty, samples, level }: CallOptions): NonNullable<TicketTerms['run']['uncertainty']> {
  if (!METHODS.includes(uncertainty)) throw usage(`--uncertainty is ${METHODS.join(', ')}, not "${uncertainty}"`);
  const p = Number(level);
  if (!(p > 0 && p < 1)) throw usage(`--level is a probability between 0 and 1, not "${level}"`);
  return { method: uncertainty as 'l2', samples: wholeNumber(samples, '--samples'), level: p };
}

/** The part of the terms that is numbers: read before anything is sent. */
function termsOf(options: CallOptions): Pick<TicketTerms, 'resources' | 'run' | 'output'> {
  const maxFailures = wholeNumber(options.maxFailures, '--max-failures');
  const { maxStarts } = options;
  return {
    resources: {
      nodes: wholeNumber(options.nodes, '--nodes', 1),
      cpusPerNode: wholeNumber(options.cpus, '--cpus', 1),
      gpusPerNode: wholeNumber(options.gpus, '--gpus'),
      memMiBPerNode: wholeNumber(options.memory, '--memory', 1),
      wallS: parseDuration(options.timeout),
    },
    run: {
      maxFailures,
      maxStarts: maxStarts === undefined ? maxFailures + EXTRA_STARTS : wholeNumber(maxStarts, '--max-starts', 1),
      timeoutS: parseDuration(options.timeout),
      uncertainty: uncertaintyOf(options),
    },
    output: { maxBytes: wholeNumber(options.maxBytes, '--max-bytes', 1), to: 'return' },
  };
}
