/** `farfield status`: the broker's word on where calls are, said as such. */
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import type { TicketStatus } from '#protos/http.ts';
import { openClient, parseTarget } from './common.ts';

export const register: RegisterVerb = (program, context) => {
  program
    .command('status')
    .description('where your calls are (the broker’s word; receipts are the endpoint’s)')
    .argument('[id]', 'one call; without it, all that the broker keeps of yours')
    .action(async (id: string | undefined, _options: unknown, command: Command) => {
      const { client } = await openClient(context);
      await using _client = client;
      const found = id === undefined ? await client.list() : [await client.status(parseTarget(id).ticket)];
      if (command.optsWithGlobals().json === true) writeJson(context.stdout, id === undefined ? found : found[0]);
      else if (found.length === 0) writeLine(context.stdout, 'no calls');
      else for (const each of found) show(context, each);
    });
};

function show(context: CliContext, status: TicketStatus): void {
  const counts = Object.entries(status.counts)
    .filter(([, count]) => count > 0)
    .map(([state, count]) => (status.n === 1 ? state : `${count} ${state}`));
  const at = new Date(status.queuedAt * 1000).toISOString().slice(0, 19);
  writeLine(
    context.stdout,
    `${status.id}  ${at}  ${plain(status.fn)}  ${counts.join(', ')}${status.cancelling ? ' (cancelling)' : ''}`,
  );
  for (const item of status.items) {
    if (item.detail === undefined) continue;
    writeLine(context.stdout, `  .${item.i} ${item.state}: ${plain(item.detail)}`);
  }
  if (status.reason !== undefined) writeLine(context.stdout, `  ${plain(status.reason)}`);
}
