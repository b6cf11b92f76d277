/** Fetching, checking and showing what came back. */
import { access, constants, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type CliContext, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { invocationId } from '#kernel/ids.ts';
import type { Client } from '../ts/client.ts';
import { type Outcome, outcomeError } from '../ts/outcome.ts';

/** A result small enough to print is printed; a larger one wants `--out`. */
const PRINTED_BYTES = 4096;

/** Where a result can be written: asked before the work begins, since hours may lie between. */
export async function checkOut(context: CliContext, out: string | undefined): Promise<void> {
  if (out === undefined) return;
  const path = resolve(context.cwd, out);
  const folder = dirname(path);
  if ((await stat(path).catch(() => undefined))?.isDirectory() === true)
    throw new FarfieldError('E_INPUT', `--out: ${path} is a folder; name a file in it`);
  await access(folder, constants.W_OK).catch((cause: unknown) => {
    throw new FarfieldError('E_INPUT', `--out: cannot write in ${folder}. Does it exist, and is it yours?`, { cause });
  });
}

/** Writes the result to `out` (or prints a small one) and shows the receipt. Throws what the outcome stands for. */
export async function deliver(
  context: CliContext,
  client: Client,
  outcome: Outcome,
  out: string | undefined,
  json: boolean,
): Promise<void> {
  const failure = outcomeError(outcome);
  if (failure !== undefined) throw failure;
  const saved = out === undefined ? undefined : resolve(context.cwd, out);
  if (saved !== undefined) {
    if (outcome.result !== undefined) await writeFile(saved, outcome.result);
    else if (outcome.resultDigest !== undefined) await client.downloadTo(outcome.resultDigest, saved);
  }
  if (json) {
    writeJson(context.stdout, outcomeJson(outcome, saved));
    return;
  }
  if (
    saved === undefined &&
    outcome.result !== undefined &&
    outcome.result.byteLength <= PRINTED_BYTES &&
    outcome.detail.res?.type === 'json'
  ) {
    writeLine(context.stdout, plain(fromUtf8(outcome.result)));
  } else if (saved === undefined) {
    writeLine(
      context.stderr,
      `the result (${outcome.detail.res?.type ?? 'none'}) is kept; fetch it with \`farfield result ${invocationId(outcome.id, outcome.i)} --out FILE\``,
    );
  } else writeLine(context.stdout, saved);
  writeLine(
    context.stderr,
    `receipt verified: signed by endpoint ${outcome.receipt.endpoint}, attempt ${outcome.attempt}`,
  );
}

export function outcomeJson(outcome: Outcome, saved?: string): Record<string, unknown> {
  return {
    id: invocationId(outcome.id, outcome.i),
    status: outcome.status,
    attempt: outcome.attempt,
    result: { ...outcome.detail.res, digest: outcome.resultDigest, ...(saved === undefined ? {} : { file: saved }) },
    ...(outcome.detail.err === undefined ? {} : { error: outcome.detail.err }),
    meas: outcome.meas,
    rep: outcome.detail.rep,
    receipt: { verified: true, ...outcome.receipt },
  };
}
