/** The kind is what a rule names, so it is what runs. */
import t from 'tap';
import { gangOf } from '#kernel/gangs.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { newParty } from './parties.ts';

const MPI = { kind: 'mpi', adapter: 'program' } as const;

t.test('only kind mpi has a program and nodes, and it has no other adapter', async (t) => {
  const party = newParty({ ...MPI, needs: { nodes: 2, ranksPerNode: 4 } });
  const { claims } = openManifest(party.manifest, [party.publisher.jwk]);
  t.strictSame(gangOf(claims), { nodes: 2, ranksPerNode: 4 });
  t.strictSame(gangOf({ kind: 'mpi' }), { nodes: 1, ranksPerNode: 1 });
  t.equal(gangOf({ kind: 'model' }), undefined);
  t.throws(() => newParty({ kind: 'model', adapter: 'program' }), { code: 'E_MANIFEST', message: /is of kind mpi/ });
  t.throws(() => newParty({ kind: 'mpi', adapter: 'ort' }), { code: 'E_MANIFEST', message: /has the adapter program/ });
  t.throws(() => newParty({ kind: 'model', needs: { nodes: 1 } }), { code: 'E_MANIFEST', message: /of kind mpi/ });
  t.throws(() => newParty({ ...MPI, needs: { nodes: 0 } }), { code: 'E_TOKEN_CLAIMS' });
});
