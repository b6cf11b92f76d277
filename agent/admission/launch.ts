/**
 * The launch check: revocation, `exp`, trust, rule and ceilings once more, just before a lease.
 *
 * Remembered by ticket and policy: within one policy only `exp` and the end of the pin depend on time. A changed policy
 * may name other publishers, so the manifest's signatures are counted again under it.
 */
import type { Clock } from '#base/clock.ts';
import { createManifestCache, decideLaunch } from '#kernel/admission.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';
import type { Refusal } from '#kernel/refusal.ts';
import type { Work } from '../work/mirror.ts';

const CACHED_MANIFESTS = 256;

export function createLaunchCheck(policyOf: () => ResolvedPolicy, clock: Clock): (work: Work) => Refusal | undefined {
  const manifests = createManifestCache(CACHED_MANIFESTS);
  const allowed = new WeakMap<Work, { policy: ResolvedPolicy; untilS: number }>();
  return (work) => {
    const policy = policyOf();
    const nowS = clock.now() / 1000;
    const known = allowed.get(work);
    if (known !== undefined && known.policy === policy && nowS < known.untilS) return undefined;
    const { token: ticket, chain, choice } = work;
    const manifest = manifests.open(work.ticket.manifest, policy, chain);
    const refusal = decideLaunch({ ticket, chain, manifest, policy, nowS, choice });
    const pinnedUntilS = policy.authorities.pinned.get(chain.principal)?.untilS ?? 0;
    if (refusal === undefined) allowed.set(work, { policy, untilS: Math.min(pinnedUntilS, work.ticket.exp) });
    return refusal;
  };
}

/** A model that the manifest names and this endpoint does not have. */
export function missingModel(work: Work, models: ReadonlyMap<string, string>): Refusal | undefined {
  const missing = work.token.claims.mdl.find(({ digest }) => !models.has(digest));
  if (missing === undefined) return undefined;
  const message = `this endpoint has no model ${missing.name} with digest ${missing.digest}; its admin adds the folder under \`models\` in config.yaml`;
  return { code: 'E_MODEL', step: 'model', message };
}
