/** Runs attacks one by one against a bench and keeps the books: the same for every message, so that rows can be compared. */
import type { Test } from 'tap';
import { NOW, policyFor, testParty } from '../agent/parts.ts';
import { newParty } from '../kernel/parties.ts';
import type { Attack, Scene } from './attacks.ts';
import { type Bench, type BenchOptions, startBench } from './bench.ts';
import { attacker } from './mutations.ts';

export interface Row {
  tried: number;
  /** Launches of anything but honest work. */
  started: number;
  /** Ledger commands by those who proved nothing. */
  rowsEarly: number;
  refused: number;
  /** Refusals of genuine tickets, committed as receipts. */
  noted: number;
  /** Only labels were altered: the owner's own work ran, as signed. */
  honest: number;
  cut: number;
}

export type Table = Map<string, Row>;

export function rowOf(table: Table, name: string): Row {
  const row = table.get(name) ?? { tried: 0, started: 0, rowsEarly: 0, refused: 0, noted: 0, honest: 0, cut: 0 };
  table.set(name, row);
  return row;
}

export function newScene(): Scene {
  return { party: testParty(), bob: newParty(), honest: new Map() };
}

/** Alice and bob are trusted; the only rule is alice's. */
export function optionsOf({ party, bob, honest }: Scene, pinned: { kid: string; name: string }[] = []): BenchOptions {
  const until = NOW + 86_400;
  const policy = policyFor(party, {
    authorities: {
      pinned: [
        { kid: party.principal.kid, name: 'alice', until },
        { kid: bob.principal.kid, name: 'bob', until },
        ...pinned.map((each) => ({ ...each, until })),
      ],
      publishers: [{ name: 'lab', jwks: [party.publisher.jwk, ...(pinned.length > 0 ? [attacker.jwk] : [])] }],
    },
  });
  return { party, honest, policy, ledgerEpoch: { n: 2, since: NOW - 1800 } };
}

export async function strike(
  bench: Bench,
  attack: Attack,
  table: Table,
  { finish = true }: { finish?: boolean } = {},
): Promise<void> {
  const { harness, heard, launched, wrong } = bench;
  const [said, runs, bad, rows] = [heard.length, launched.length, wrong.length, harness.ledger.stats().commands];
  bench.send(...attack.send);
  await bench.settled(said, attack.answers);
  const row = rowOf(table, `${attack.message.padEnd(20)} ${attack.group}`);
  row.tried += 1;
  row.started += wrong.length - bad;
  if (!attack.trusted) row.rowsEarly += harness.ledger.stats().commands - rows;
  if (launched.length > runs) row.honest += 1;
  else if (heard.slice(said).some((message) => message.refusal !== undefined)) row.refused += 1;
  else if (heard.slice(said).some((message) => message.admitted !== undefined)) row.noted += 1;
  if (!bench.alive) row.cut += 1;
  if (finish) await bench.finish();
}

/** Runs the attacks, on a fresh agent wherever the last one hung up. */
export async function campaign(options: BenchOptions, attacks: Iterable<Attack>, table: Table): Promise<string[]> {
  const wrong: string[] = [];
  let bench = await startBench(options);
  for (const attack of attacks) {
    if (!bench.alive) {
      await bench[Symbol.asyncDispose]();
      bench = await startBench(options);
    }
    const before = bench.wrong.length;
    await strike(bench, attack, table);
    for (const each of bench.wrong.slice(before)) wrong.push(`${attack.message}: ${attack.what}: ${each}`);
  }
  await bench[Symbol.asyncDispose]();
  return wrong;
}

export function print(t: Test, table: Table, title: string): Row {
  const names = ['tried', 'started', 'rowsEarly', 'refused', 'noted', 'honest', 'cut'] as const;
  const total = rowOf(new Map(), '');
  t.comment(title);
  t.comment(`${''.padEnd(36)}${names.map((name) => name.padStart(10)).join('')}`);
  for (const [name, row] of [...table].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const key of names) total[key] += row[key];
    t.comment(`${name.padEnd(36)}${names.map((key) => String(row[key]).padStart(10)).join('')}`);
  }
  t.comment(`${'total'.padEnd(36)}${names.map((key) => String(total[key]).padStart(10)).join('')}`);
  return total;
}
