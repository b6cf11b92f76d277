/**
 * `farfield result`: attach to a call, wait for it if need be, fetch and verify.
 *
 * It needs nothing of the machine that submitted: the ticket's hash noted there only adds a check (receipts for another ticket are
 * refused). `--all` writes a line an item in the order of the items, not of their ends: a line is then found by its number.
 */
import type { Command } from 'commander';
import { type RegisterVerb, writeJson } from '#base/cli.ts';
import type { FarfieldError } from '#kernel/errors.ts';
import { outcomeError } from '../ts/outcome.ts';
import { openClient, parseTarget } from './common.ts';
import { checkOut, deliver, outcomeJson } from './outcomes.ts';
import { createProgress } from './progress.ts';
import { follow } from './run.ts';

export const register: RegisterVerb = (program, context) => {
  program
    .command('result')
    .description('fetch and verify a result; waits while it runs')
    .argument('<id>', 'TICKET or TICKET.ITEM')
    .option('--out <file>', 'write the result here')
    .option('--all', 'every item, as JSON lines')
    .action(async (id: string, options: { out?: string; all?: boolean }, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      const target = parseTarget(id);
      await checkOut(context, options.out);
      const line = createProgress(context, !json);
      const { client } = await openClient(context);
      await using _client = client;
      const ticket = await client.attach(target.ticket);
      if (options.all === true) {
        let failure: FarfieldError | undefined;
        for (let i = 0; i < ticket.n; i++) {
          const outcome = await follow(context, ticket, i, line);
          writeJson(context.stdout, outcomeJson(outcome));
          failure ??= outcomeError(outcome);
        }
        // Every line was written; the first failure decides how the verb ends.
        if (failure !== undefined) throw failure;
        return;
      }
      await deliver(context, client, await follow(context, ticket, target.item ?? 0, line), options.out, json);
    });
};
