/** `farfield submit`: like run, but prints the id and leaves. */
import type { Command } from 'commander';
import { type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { type CallOptions, callOptions, submitCall } from './call.ts';
import { openClient } from './common.ts';
import { createProgress } from './progress.ts';

export const register: RegisterVerb = (program, context) => {
  callOptions(program.command('submit').description('submit a call and print its id')).action(
    async (manifest: string, options: CallOptions, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      const setting = await openClient(context);
      await using _client = setting.client;
      const { ticket, outcome, note } = await submitCall(
        context,
        setting,
        manifest,
        options,
        createProgress(context, !json),
      );
      if (json) {
        writeJson(context.stdout, { id: ticket.id, n: ticket.n, outcome, note });
        return;
      }
      writeLine(context.stdout, ticket.id);
      if (note !== undefined) writeLine(context.stderr, plain(note));
    },
  );
};
