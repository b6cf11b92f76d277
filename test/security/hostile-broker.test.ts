/**
 * A broker that alters every field of every message in turn, against a real agent: nothing starts that its owner did not
 * sign, and whoever proves nothing costs no row. The table at the end prints what was tried and what came of it.
 */
import '../leaks.ts';
import t from 'tap';
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
import { startBench } from './bench.ts';
import { campaign, newScene, optionsOf, print, type Table } from './campaign.ts';
import { attacker } from './mutations.ts';

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
    const total = print(t, table, 'a hostile broker delivers');
    t.same(wrong.slice(0, 20), [], 'started nothing but honest work');
    t.equal(total.started, 0);
    for (const [name, row] of table)
      if (row.rowsEarly > 0) t.fail(`${name} wrote ${row.rowsEarly} rows before a valid chain`);
    t.equal(total.rowsEarly, 0);
    t.ok(total.tried > 2000, `${total.tried} attacks were tried`);
  },
);
