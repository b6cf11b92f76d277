/** `farfield events`: everything of yours, a line each (JSON lines with --json), until Ctrl-C. */
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AccessEntry } from '#kernel/tokens/claims.ts';
import type { AccessEvent } from '#protos/http.ts';
import type { BrokerEvent } from '../ts/events.ts';
import { openClient } from './common.ts';
import { describeEntry } from './notices.ts';

export const register: RegisterVerb = (program, context) => {
  program
    .command('events')
    .description('follow everything of yours')
    .action(async (_options: unknown, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      const { client, notices } = await openClient(context);
      await using _client = client;
      const print = (event: BrokerEvent): void =>
        json ? writeJson(context.stdout, event) : writeLine(context.stdout, describe(event));
      client.onEvent((event) => {
        if (event.type !== 'access') return print(event);
        // Verified before a word of it is shown; it may come behind an event that came after it.
        const { endpoint, answer } = event.data as AccessEvent;
        notices.verified(endpoint, answer).then(
          (entries) => print({ ...event, data: { endpoint, entries } }),
          (reason: unknown) => writeLine(context.stderr, `note: ${plain(FarfieldError.from(reason).message)}`),
        );
      });
      await client.connect();
      await untilAborted(context);
    });
};

export async function untilAborted(context: CliContext): Promise<void> {
  if (context.signal.aborted) return;
  await new Promise<void>((resolve) => context.signal.addEventListener('abort', () => resolve(), { once: true }));
}

function describe(event: BrokerEvent): string {
  const data = event.data as Record<string, unknown>;
  if (event.type === 'running') return `${String(data.id)} ${plain(String(data.state))}: ${plain(String(data.detail))}`;
  if (event.type === 'log')
    return `${String(data.id)} log ${plain(Buffer.from(String(data.data), 'base64').toString()).trimEnd()}`;
  if (event.type === 'access') {
    const { endpoint, entries } = data as { readonly endpoint?: string; readonly entries?: readonly AccessEntry[] };
    return (entries ?? []).map((entry) => `access at ${plain(String(endpoint))}: ${describeEntry(entry)}`).join('\n');
  }
  if (event.type === 'terminal') {
    const tickets = (data as { tickets?: { id: string; items: number[] }[] }).tickets ?? [];
    return tickets.map((each) => `${each.id} ended: ${each.items.length} item(s)`).join('\n');
  }
  return `${String(data.id ?? '')} ${event.type}`;
}
