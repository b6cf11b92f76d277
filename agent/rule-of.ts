/** The rule that takes a ticket, under the policy of now: launches, measurements and writable folders all ask for it. */
import type { ResolvedPolicy, ResolvedRule } from '#kernel/policy/resolve.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import type { PolicySource } from './admission/policy.ts';
import { matchOf, type Work } from './work/mirror.ts';

export interface RuleOf {
  (work: Work): ResolvedRule | undefined;
  /** A measurement with the policy and rule under which it was taken. */
  measured(record: Measured, work: Work | undefined): Measured;
}

/** Matched once for each policy: matching costs 50 us, and a launch asks several times. */
export function createRuleOf(policy: () => PolicySource): RuleOf {
  const known = new WeakMap<Work, { policy: ResolvedPolicy; rule: ResolvedRule | undefined }>();
  const ruleOf = (work: Work): ResolvedRule | undefined => {
    const { current } = policy();
    const found = known.get(work);
    if (found?.policy === current) return found.rule;
    const rule = matchOf(current, work.token, work.chain, work.manifest)?.rule;
    known.set(work, { policy: current, rule });
    return rule;
  };
  const measured = (record: Measured, work: Work | undefined): Measured => {
    const rule = work === undefined ? undefined : ruleOf(work)?.name;
    return { ...record, policy: policy().current.digest, ...(rule === undefined ? {} : { rule }) };
  };
  return Object.assign(ruleOf, { measured });
}
