/** `farfield receipt`: the signed proof of one result as a file, and its check, which needs no broker and no account. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { invocationId } from '#kernel/ids.ts';
import { openHome } from '../ts/home.ts';
import { type Proven, verifyReceipt } from '../ts/receipt-file.ts';
import { openClient, parseTarget } from './common.ts';

export const register: RegisterVerb = (program, context) => {
  const receipt = program.command('receipt').description('export the signed proof of one result, and check one');
  receipt
    .command('export')
    .description('write the receipt of one item, with all that its check needs')
    .argument('<id>', 'TICKET.ITEM, or TICKET for its first item')
    .requiredOption('--out <file>', 'where to write it')
    .action(async (id: string, options: { out: string }, command: Command) => {
      const { ticket, item = 0 } = parseTarget(id);
      const { client } = await openClient(context);
      await using _client = client;
      const file = await client.receipt(ticket, item);
      const out = resolve(context.cwd, options.out);
      await writeFile(out, `${JSON.stringify(file, undefined, 2)}\n`);
      if (command.optsWithGlobals().json === true)
        writeJson(context.stdout, { ...shown(verifyReceipt(file)), file: out });
      else writeLine(context.stdout, `${out}\n\`farfield receipt verify FILE\` checks it anywhere, without a broker`);
    });
  receipt
    .command('verify')
    .description('check a receipt file; needs no broker, no login and no network')
    .argument('<file>', 'a file of `farfield receipt export`')
    .option('--result <file>', 'also check that this file is the result')
    .option('--endpoint <name>', 'also check who signed: a pinned name, or an endpoint id')
    .action(async (path: string, options: { result?: string; endpoint?: string }, command: Command) => {
      const proven = verifyReceipt(await readReceipt(context, path));
      const pins = await openHome(context.home).pins();
      if (options.endpoint !== undefined) {
        const wanted = pins.find(({ name }) => name === options.endpoint)?.endpoint ?? options.endpoint;
        if (wanted !== proven.endpoint)
          throw new FarfieldError('E_RECEIPT', `the receipt holds, but ${proven.endpoint} signed it, not ${wanted}`);
      }
      if (options.result !== undefined) await checkResult(context, options.result, proven);
      const name = pins.find(({ endpoint }) => endpoint === proven.endpoint)?.name;
      if (command.optsWithGlobals().json === true)
        writeJson(context.stdout, {
          ...shown(proven),
          verified: true,
          ...(name === undefined ? {} : { pinned: name }),
        });
      else show(context, proven, name);
    });
};

async function readReceipt(context: CliContext, path: string): Promise<unknown> {
  const text = await readFile(resolve(context.cwd, path), 'utf8').catch((cause: unknown) => {
    throw new FarfieldError('E_INPUT', `cannot read ${path}. Is the path right?`, { cause });
  });
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new FarfieldError('E_INPUT', `${path} is no receipt file: it is not JSON`, { cause });
  }
}

async function checkResult(context: CliContext, path: string, proven: Proven): Promise<void> {
  if (proven.resultDigest === undefined)
    throw usage(`--result: this receipt is of an item that ended ${proven.status}`);
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(resolve(context.cwd, path))) hash.update(chunk as Uint8Array);
  } catch (cause) {
    throw new FarfieldError('E_INPUT', `cannot read ${path}. Is the path right?`, { cause });
  }
  const found = `sha256:${hash.digest('hex')}`;
  if (found !== proven.resultDigest)
    throw new FarfieldError(
      'E_DIGEST',
      `${path} is not the result: it has ${found}, the receipt ${proven.resultDigest}`,
    );
}

function shown({ id, i, iat, ...rest }: Proven): Record<string, unknown> {
  return { id: invocationId(id, i), signedAt: new Date(iat * 1000).toISOString(), ...rest };
}

function show(context: CliContext, proven: Proven, name: string | undefined): void {
  const { endpoint, detail, meas } = proven;
  const who =
    name === undefined ? 'not pinned here: compare this id with what the site published' : `pinned as ${name}`;
  const lines = [
    `receipt verified: ${invocationId(proven.id, proven.i)} ${proven.status}, attempt ${proven.attempt}`,
    `endpoint   ${endpoint} (${who})`,
    `principal  ${proven.principal}`,
    `ticket     ${proven.ticketHash}`,
    `result     ${proven.resultDigest ?? 'none'}`,
    `signed     ${new Date(proven.iat * 1000).toISOString()}`,
    ...(detail.err === undefined ? [] : [`error      ${detail.err.code}: ${detail.err.message}`]),
    `measured   ${JSON.stringify(meas)}`,
  ];
  for (const line of lines) writeLine(context.stdout, plainLine(line, 2000));
}
