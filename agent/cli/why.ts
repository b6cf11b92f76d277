/**
 * `farfield endpoint why ID`: one sentence on why an item does not run yet, or what became of it.
 *
 * The running agent is asked first; what it no longer has in memory, or what nobody runs, is read from the ledger's file.
 */
import type { Command } from 'commander';
import { type CliContext, usage } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { ITEM } from '../admission/item-state.ts';
import type { WhyAnswer } from '../control.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { askRunning, chooseFolder, type FolderOptions } from './common.ts';
import { findTickets, wordOf } from './ledger-file.ts';
import { show, withFolder } from './show.ts';

const ID = /^[0-9a-f]{4,32}(\.\d{1,4})?$/;

export function registerWhy(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint.command('why').description('say in one sentence why a call does not run yet, or what became of it'),
  )
    .argument('<id>', 'of a call or one item of it (ID.3), as `farfield submit` prints it; its beginning will do')
    .action(async (id: string, options: FolderOptions, command: Command) => {
      if (!ID.test(id)) throw usage(`${plain(id)} is no id of a call: 4 to 32 hex digits, with .N for one item`);
      const folder = chooseFolder(context, options);
      const answer = await explain(folder, id, context.signal);
      const name = `${answer.id}${answer.item === undefined ? '' : `.${answer.item}`}`;
      const { absent, waiting, running, ended } = answer.items;
      const counts = Object.entries({ waiting, running, ended, 'not here': absent }).filter(([, count]) => count > 0);
      show(context, command, answer, [
        `${name}: ${plain(answer.sentence)}`,
        ...(absent + waiting + running + ended > 1
          ? [`  of its items: ${counts.map(([word, count]) => `${count} ${word}`).join(', ')}`]
          : []),
      ]);
    });
}

async function explain(folder: AgentFolder, id: string, signal: AbortSignal): Promise<WhyAnswer> {
  const answer = (await askRunning(folder, 'why', { id }, signal)) as
    | WhyAnswer
    | { readonly ambiguous: readonly string[] }
    | { readonly absent: true }
    | undefined;
  if (answer !== undefined && 'ambiguous' in answer) throw several(answer.ambiguous);
  if (answer !== undefined && 'sentence' in answer) return answer;
  return stored(folder, id, answer !== undefined);
}

function several(ids: readonly string[]): FarfieldError {
  return usage(`several calls begin so: ${ids.join(', ')}; write more of the id`);
}

function stored(folder: AgentFolder, id: string, runs: boolean): WhyAnswer {
  const [prefix = '', item] = id.split('.');
  const found = findTickets(folder, prefix);
  if (found.length > 1) throw several(found.map((each) => each.id));
  const [ticket] = found;
  if (ticket === undefined)
    throw new FarfieldError(
      'E_NOT_FOUND',
      runs
        ? 'this endpoint has not admitted such a call. It may still be queued at the broker (the endpoint takes what it has room for), it may be for another endpoint, or its refusal came before a valid chain: then audit.log has a line of it'
        : 'the agent is stopped, and its ledger has no such call; it may be queued at the broker. Start it with `farfield endpoint start --detach`',
    );
  const i = item === undefined ? firstOpen(ticket.states) : Number(item);
  const state = ticket.states[i] ?? 0;
  const items = { absent: 0, waiting: 0, running: 0, ended: 0 };
  for (const each of ticket.states) {
    const word = wordOf(each);
    items[word === 'waiting' || word === 'running' ? word : word === 'not here' ? 'absent' : 'ended'] += 1;
  }
  const common = { id: ticket.id, item: i, items };
  if (state >= ITEM.ended) {
    const { err } = ticket.detailOf(i) ?? {};
    const why = err === undefined ? '' : `: ${err.message} [${err.code}]`;
    return { ...common, code: 'done', sentence: `it is over: ${wordOf(state)}${why}` };
  }
  if (state === ITEM.absent)
    return { ...common, code: 'not-here', sentence: 'the broker has not delivered this item yet' };
  const stopped = 'the agent is stopped; start it with `farfield endpoint start --detach`';
  if (state === ITEM.leased)
    return {
      ...common,
      code: 'stopped',
      sentence: `it may run on a pilot that outlived the agent: ${stopped}, and it is taken over`,
    };
  return { ...common, code: 'stopped', sentence: `it is kept in the ledger and waits: ${stopped}` };
}

function firstOpen(states: Uint8Array): number {
  const open = states.findIndex((state) => state === ITEM.waiting || state === ITEM.leased);
  return Math.max(0, open);
}
