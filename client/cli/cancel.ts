/**
 * `farfield cancel`: a signed cancel, which ends in a killed process tree or a tombstone at the endpoint.
 *
 * It returns when the broker has it on disk, not when the work has stopped: the endpoint may be away for a day, and the first outcome
 * that is durable there wins. So 0 items is no error, and how it ended is asked with `farfield result`.
 */
import type { Command } from 'commander';
import { type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { openClient, parseTarget } from './common.ts';

export const register: RegisterVerb = (program, context) => {
  program
    .command('cancel')
    .description('cancel a call, or one of its items')
    .argument('<id>', 'TICKET or TICKET.ITEM')
    .action(async (id: string, _options: unknown, command: Command) => {
      const { ticket, item } = parseTarget(id);
      const { client } = await openClient(context);
      await using _client = client;
      const items = await client.cancel(ticket, item === undefined ? undefined : [item]);
      if (command.optsWithGlobals().json === true) writeJson(context.stdout, { id: ticket, items });
      else if (items === 0) writeLine(context.stdout, 'nothing of it was open');
      else
        writeLine(
          context.stdout,
          `cancel of ${items} item${items === 1 ? '' : 's'} is on its way; \`farfield result ${id}\` shows how it ended`,
        );
    });
};
