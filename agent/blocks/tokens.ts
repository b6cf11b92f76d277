/**
 * Who may redeem a block's token: each node of a live block, once for each start of its job.
 *
 * The token lies in a 0600 file that every node reads, so all nodes show the same one. A job of the same account can read it
 * too, and be first: that is said in the threat model. What it cannot do is come second, come from a node that is not of the
 * job, or come after the block's end.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { PilotRow } from '../admission/ledger.ts';
import type { Block } from './block.ts';
import { hasNode } from './job-words.ts';

export interface TokenFacts {
  /** Pilots of this block that were welcomed. */
  rows(): readonly PilotRow[];
  isConnected(row: PilotRow): boolean;
  /** Whether the scheduler names nodes as their pilots do. */
  readonly namesNodes: boolean;
  /** What the scheduler says of the block now. */
  ask(block: Block): Promise<void>;
}

/** What the redemption is remembered by: the ledger takes each once. Throws where this node may not redeem. */
export async function redemptionOf(
  find: () => Block | undefined,
  id: string,
  node: string,
  facts: TokenFacts,
): Promise<string> {
  const live = (): Block => {
    const block = find();
    if (block !== undefined) return block;
    throw new FarfieldError('E_FORBIDDEN', `block ${id} is over, or was never submitted here`);
  };
  const { life } = live();
  const before = facts.rows().find((row) => row.node === node);
  // Its pilot is gone and another one comes: the job may have been started again since the last look.
  if (before !== undefined && !facts.isConnected(before)) await facts.ask(live());
  const block = live();
  if (block.life === life && facts.rows().some((row) => row.node === node))
    throw new FarfieldError('E_UNAUTHENTICATED', `the token of block ${id} was redeemed on ${node} before`);
  if (block.nodes.length > 0 && facts.namesNodes && !hasNode(block.nodes, node))
    throw new FarfieldError('E_FORBIDDEN', `${node} is no node of block ${id} (${block.nodes.slice(0, 8).join(', ')})`);
  const { nodes } = block.group.shape;
  if (facts.rows().length >= nodes)
    throw new FarfieldError('E_UNAUTHENTICATED', `the token of block ${id} was redeemed by all of its ${nodes} nodes`);
  return `${block.life}/${node}`;
}
