/**
 * `farfield submit`: like run, but prints the id and leaves; with `--save` it sends nothing.
 *
 * The id alone is on stdout, so that a script can take it as it is; that the endpoint is offline is a note on stderr, since the call is
 * queued all the same. A saved call is 0600: it is signed, and whoever has its arguments too could submit it in its owner's name until it
 * expires.
 */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { type CallOptions, callOptions, signCall, submitCall } from './call.ts';
import { openClient } from './common.ts';
import { createProgress } from './progress.ts';

export const register: RegisterVerb = (program, context) => {
  callOptions(program.command('submit').description('submit a call and print its id'))
    .option('--save <file>', 'sign the call, write it here for `farfield policy test`, and submit nothing')
    .action(async (manifest: string, options: CallOptions & { save?: string }, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      const setting = await openClient(context);
      await using _client = setting.client;
      if (options.save !== undefined) {
        const path = resolve(context.cwd, options.save);
        const call = await signCall(context, setting, manifest, options, createProgress(context, !json));
        await writeFile(path, `${JSON.stringify(call)}\n`, { mode: 0o600 });
        if (json) writeJson(context.stdout, { file: path });
        else writeLine(context.stdout, path);
        return;
      }
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
    });
};
