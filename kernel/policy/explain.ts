/** `policy test`: the rule chosen, or the first refusal, in lines for a person. The decision is admission's own. */
import { type Admission, type AdmissionInput, decideAdmission } from '../admission.ts';
import { matchSubject } from '../admission-steps.ts';
import { openManifest } from '../tokens/manifest.ts';
import { explainMatch } from './match.ts';

export interface Explanation {
  readonly admission: Admission;
  readonly lines: readonly string[];
}

/** Decides as the agent would, and says why. Every rule that was passed over is listed with what did not fit. */
export function explainAdmission(input: AdmissionInput): Explanation {
  const admission = decideAdmission(input);
  if (admission.kind === 'known')
    return { admission, lines: ['known: the ledger holds this ticket and answers from there'] };
  if (admission.kind === 'admit') {
    const { rule, choices, manifest, pin } = admission;
    const misses = missLines(input, admission);
    const ways = choices.map(
      (choice) =>
        `  runs as: variant ${choice.variant} in ${choice.runtime}${choice.image === undefined ? '' : `, ${choice.image}`}`,
    );
    return {
      admission,
      lines: [
        `admitted: rule "${rule.name}"${rule.grant === undefined ? '' : ` (by ${rule.grant.id})`} lets ${pin} run ${manifest.claims.name} ${manifest.claims.version}`,
        ...ways,
        ...misses,
      ],
    };
  }
  const { refusal, chainValid } = admission;
  const first = `refused at step ${refusal.step} with ${refusal.code}: ${refusal.message}`;
  const kept = chainValid ? '  the refusal is committed and final' : '  the refusal is stateless: nothing is written';
  return { admission, lines: [first, kept, ...(refusal.step === 'match' ? missLines(input, admission) : [])] };
}

/** The rules before the decision, from the same match that decided: an explanation of its own could differ from the truth. */
function missLines(input: AdmissionInput, admission: Exclude<Admission, { kind: 'known' }>): string[] {
  const { ticket, chain } = admission;
  const pin = chain === undefined ? undefined : input.policy.authorities.pinned.get(chain.principal);
  if (ticket === undefined || chain === undefined || pin === undefined) return [];
  const manifest = openManifest(input.manifest, [...input.policy.authorities.publisherKeys, chain.sessionKey]);
  const { misses } = explainMatch(input.policy, matchSubject(pin.name, ticket, chain, manifest));
  return misses.map((miss) => `  rule "${miss.rule}" does not fit by its ${miss.part}: ${miss.why}`);
}
