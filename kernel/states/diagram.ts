/** Mermaid text of a state table, for docs/states.md. What is drawn is what runs. */
import type { Entry, Table } from './table.ts';

/** `stateDiagram-v2` with one arrow a pair of states; events that share an arrow share its label. Loops are left out. */
export function diagram<S extends string, E extends string, F extends string>(table: Table<S, E, F>, first: S): string {
  const lines = ['stateDiagram-v2', `  [*] --> ${first}`];
  for (const [state, row] of entriesOf(table)) {
    const labels = new Map<S, string[]>();
    for (const [event, entry] of entriesOf<string, Entry<S, F>>(row)) {
      if ('refused' in entry || entry.state === state) continue;
      labels.set(entry.state, [...(labels.get(entry.state) ?? []), event]);
    }
    for (const [next, events] of labels) lines.push(`  ${state} --> ${next}: ${events.join(', ')}`);
    if (labels.size === 0) lines.push(`  ${state} --> [*]`);
  }
  return lines.join('\n');
}

/** Markdown table of a state table: a row a state, a column an event, with effects; a dot where the event is refused. */
export function grid<S extends string, E extends string, F extends string>(
  table: Table<S, E, F>,
  events: readonly E[],
): string {
  const cell = (entry: Entry<S, F>): string =>
    'refused' in entry ? '·' : [entry.state, ...entry.effects.map((effect) => `*${effect}*`)].join(' ');
  const lines = [`| | ${events.join(' | ')} |`, `|---|${events.map(() => '---').join('|')}|`];
  for (const [state, row] of entriesOf(table))
    lines.push(`| **${state}** | ${events.map((event) => cell(row[event])).join(' | ')} |`);
  return lines.join('\n');
}

/** Object.entries with the keys' own type: the tables are closed records. */
function entriesOf<K extends string, V>(record: Readonly<Record<K, V>>): [K, V][] {
  return Object.entries(record) as [K, V][];
}
