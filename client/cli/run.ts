/** `farfield run`: submit, follow in plain words, fetch, verify. Ctrl-C detaches; the call goes on. */
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Outcome } from '../ts/outcome.ts';
import type { Ticket } from '../ts/tracker.ts';
import { type CallOptions, callOptions, submitCall } from './call.ts';
import { openClient } from './common.ts';
import { checkOut, deliver } from './outcomes.ts';
import { createProgress, type ProgressLine } from './progress.ts';

export const register: RegisterVerb = (program, context) => {
  callOptions(program.command('run').description('submit a call, follow it, and fetch the verified result'))
    .option('--out <file>', 'write the result here')
    .action(async (manifest: string, options: CallOptions & { out?: string }, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      await checkOut(context, options.out);
      const line = createProgress(context, !json);
      const setting = await openClient(context);
      await using client = setting.client;
      const { ticket, note } = await submitCall(context, setting, manifest, options, line);
      if (!json) writeLine(context.stderr, `submitted ${ticket.id}${note === undefined ? '' : `: ${plain(note)}`}`);
      await deliver(context, client, await follow(context, ticket, 0, line), options.out, json);
    });
};

/** Waits for one item, showing where it is. */
export async function follow(context: CliContext, ticket: Ticket, i: number, line: ProgressLine): Promise<Outcome> {
  ticket.onProgress(({ state, detail, done, total }) =>
    line.show(detail === '' ? state : `${state}: ${detail}`, done, total),
  );
  const left = new Promise<never>((_, reject) => {
    const leave = (): void =>
      reject(
        new FarfieldError(
          'E_UNRESOLVED',
          `detached; ${ticket.id} goes on. \`farfield result ${ticket.id}\` fetches it later`,
        ),
      );
    if (context.signal.aborted) leave();
    else context.signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([ticket.item(i), left]);
  } finally {
    line.clear();
  }
}
