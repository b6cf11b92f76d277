/** `farfield logs`: what a call prints, live. Logs come last on every link and may be dropped; gaps are said. */
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import type { LogEvent } from '#protos/http.ts';
import { openClient, parseTarget } from './common.ts';

export const register: RegisterVerb = (program, context) => {
  program
    .command('logs')
    .description('what a call prints, until it ends or Ctrl-C')
    .argument('<id>', 'TICKET or TICKET.ITEM')
    .action(async (id: string, _options: unknown, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      const target = parseTarget(id);
      const { client } = await openClient(context);
      await using _client = client;
      client.onEvent((event) => {
        if (event.type !== 'log') return;
        const log = event.data as LogEvent;
        if (log.id !== target.ticket || (target.item !== undefined && log.item !== target.item)) return;
        if (json) writeJson(context.stdout, log);
        else print(context, log);
      });
      const ticket = await client.attach(target.ticket);
      const ended = target.item === undefined ? ticket.all() : ticket.item(target.item);
      await Promise.race([
        ended,
        new Promise((resolve) => context.signal.addEventListener('abort', resolve, { once: true })),
      ]);
    });
};

function print(context: CliContext, log: LogEvent): void {
  if (log.dropped > 0) writeLine(context.stderr, `(${log.dropped} bytes were dropped here)`);
  context.stdout.write(plain(Buffer.from(log.data, 'base64').toString()));
}
