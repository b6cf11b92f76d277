/**
 * A gang: one program that runs on several nodes of one block at once, as a manifest of kind `mpi` describes it.
 *
 * Invariants
 *  G1 The kind is what a site's rule names, so it must be what runs: only kind `mpi` has the adapter that starts a program, and
 *     it has no other. A rule that takes models can therefore never start one.
 *  G2 Ranks are numbered node by node: those of node k are k * ranksPerNode and the following.
 */
import { FarfieldError } from './errors.ts';
import type { ManifestClaims } from './tokens/claims.ts';

/** The adapter of the runner that starts a program of the site or of the image. */
export const PROGRAM = 'program';

export interface GangShape {
  readonly nodes: number;
  readonly ranksPerNode: number;
}

/** Undefined for everything that is one runner's. */
export function gangOf(claims: Pick<ManifestClaims, 'kind' | 'needs'>): GangShape | undefined {
  if (claims.kind !== 'mpi') return undefined;
  const { nodes = 1, ranksPerNode = 1 } = claims.needs ?? {};
  return { nodes, ranksPerNode };
}

/** G1. Throws E_MANIFEST. */
export function checkKind({ kind, adapter, needs, name }: ManifestClaims): void {
  const no = (why: string): never => {
    throw new FarfieldError('E_MANIFEST', `${name}: ${why}`);
  };
  if (kind === 'mpi' && adapter !== PROGRAM) no(`kind mpi has the adapter ${PROGRAM}, not ${adapter}`);
  if (kind !== 'mpi' && adapter === PROGRAM) no(`the adapter ${PROGRAM} is of kind mpi, not ${kind}`);
  if (kind !== 'mpi' && (needs?.nodes !== undefined || needs?.ranksPerNode !== undefined))
    no(`needs.nodes and needs.ranksPerNode are of kind mpi, not ${kind}`);
}
