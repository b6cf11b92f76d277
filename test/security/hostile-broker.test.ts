/**
 * A broker that alters every field of every message in turn, against a real agent: nothing starts that its owner did not
 * sign, and whoever proves nothing costs no row. The table at the end prints what was tried and what came of it.
 */
import '../leaks.ts';
import t from 'tap';
import { NOW, policyFor, testParty } from '../agent/parts.ts';
import { newParty } from '../kernel/parties.ts';
import {
  type Attack,
  deliverOf,
  honestBatch,
  honestSingle,
  onChain,
  onDelivery,
  onManifest,
  onSigned,
  onTicket,
  type Scene,
  stranger,
} from './attacks.ts';
import { type Bench, type BenchOptions, startBench } from './bench.ts';
import { attacker } from './mutations.ts';

interface Row {
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

type Table = Map<string, Row>;

function rowOf(table: Table, name: string): Row {
  const row = table.get(name) ?? { tried: 0, started: 0, rowsEarly: 0, refused: 0, noted: 0, honest: 0, cut: 0 };
  table.set(name, row);
  return row;
}

function newScene(): Scene {
  return { party: testParty(), bob: newParty(), honest: new Map() };
}

/** Alice and bob are trusted; the only rule is alice's. */
function optionsOf({ party, bob, honest }: Scene, pinned: { kid: string; name: string }[] = []): BenchOptions {
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

async function strike(bench: Bench, attack: Attack, table: Table): Promise<void> {
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
  await bench.finish();
}

/** Runs the attacks, on a fresh agent wherever the last one hung up. */
async function campaign(options: BenchOptions, attacks: Iterable<Attack>, table: Table): Promise<string[]> {
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

function print(table: Table, title: string): Row {
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

t.test('control: what the broker does not alter starts, each item once', async (t) => {
  const scene = newScene();
  await using bench = await startBench(optionsOf(scene));
  t.ok(bench.alive, 'the agent dialled and was welcomed');
  bench.send(deliverOf(honestSingle(scene)));
  await bench.settled(bench.heard.length, 1);
  bench.send(deliverOf(honestBatch(scene)));
  await bench.settled(bench.heard.length, 1);
  t.equal(bench.launched.length, 4);
  t.same(bench.wrong, []);
});

t.test(
  'control: a site that trusts the attacker starts what the attacker sends, and the counter counts it',
  async (t) => {
    const scene = newScene();
    const table: Table = new Map();
    const attacks: Attack[] = [
      {
        message: 'weak site',
        group: 'ticket',
        what: 'wholly by a stranger',
        send: [deliverOf(stranger(scene))],
        trusted: false,
        answers: 1,
      },
    ];
    const strong = await campaign(optionsOf(scene), attacks, table);
    t.same(strong, []);
    const policy = optionsOf(scene, [{ kid: attacker.kid, name: 'alice' }]);
    const weak = await campaign(policy, attacks, table);
    t.equal(weak.length, 1, 'started');
    t.match(table.get([...table.keys()][0] ?? ''), { started: 1, tried: 2 });
    t.ok(
      [...table.values()].some((row) => row.rowsEarly > 0),
      'and its rows are counted',
    );
  },
);

t.test(
  'every claim, header, letter and field of a delivery altered in turn: nothing starts, no early row',
  async (t) => {
    t.setTimeout(110_000);
    const table: Table = new Map();
    const wrong: string[] = [];
    const run = async (attacks: (scene: Scene) => Iterable<Attack>): Promise<void> => {
      const scene = newScene();
      wrong.push(...(await campaign(optionsOf(scene), attacks(scene), table)));
    };
    await run((scene) => onTicket(scene, 'ticket', () => honestSingle(scene)));
    await run((scene) => onTicket(scene, 'batch', () => honestBatch(scene)));
    await run(onChain);
    await run(onManifest);
    await run(onDelivery);
    await run(onSigned);
    const total = print(table, 'a hostile broker delivers');
    t.same(wrong.slice(0, 20), [], 'started nothing but honest work');
    t.equal(total.started, 0);
    for (const [name, row] of table)
      if (row.rowsEarly > 0) t.fail(`${name} wrote ${row.rowsEarly} rows before a valid chain`);
    t.equal(total.rowsEarly, 0);
    t.ok(total.tried > 2000, `${total.tried} attacks were tried`);
  },
);
