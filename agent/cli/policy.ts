/** `farfield policy test`: the agent's own decision, without an agent. */
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type Static, Type as T } from 'typebox';
import { type CliContext, type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { parseStrict } from '#kernel/json.ts';
import { explainAdmission } from '#kernel/policy/explain.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';
import { policyJsonSchema } from '#kernel/policy/schema.ts';
import { assertShape } from '#kernel/schema.ts';
import { readGrantedPolicy } from '../admission/policy.ts';
import { readIdentity } from '../identity/identity.ts';
import { chooseFolder, type FolderOptions } from './common.ts';

/** A call as `farfield submit --save` writes it: what would be delivered, without its arguments. */
const CallFile = T.Object(
  {
    ticket: T.String({ maxLength: 64 * 1024 }),
    chain: T.Array(T.String({ maxLength: 64 * 1024 }), { minItems: 1, maxItems: 4 }),
    manifest: T.String({ maxLength: 128 * 1024 }),
  },
  { additionalProperties: false },
);

interface TestOptions extends FolderOptions {
  readonly policy?: string;
}

export const register: RegisterVerb = (program, context) => {
  const policy = program.command('policy').description('check a site policy (site admins)');
  policy
    .command('test')
    .description('check the policy file; with a call, print the rule that takes it or the first refusal')
    .argument('[file]', 'a policy (.yaml), or a call as `farfield submit --save` writes it (.json)')
    .option('--policy <file>', "another policy than the endpoint's own")
    .option('--state <folder>', "the endpoint's folder")
    .option('--name <name>', 'its name, where it lies in the usual place')
    .action((file: string | undefined, options: TestOptions, command: Command) => {
      const json = command.optsWithGlobals().json === true;
      const given = file === undefined ? undefined : resolve(context.cwd, file);
      if (given === undefined || /\.ya?ml$/.test(given)) checkFile(context, options, given, json);
      else testCall(context, options, given, json);
    });
  policy
    .command('schema')
    .description('print the JSON Schema of policy files, for editors')
    .action(() => writeJson(context.stdout, policyJsonSchema()));
};

const uidOf = (): number => process.getuid?.() ?? 0;

function checkFile(context: CliContext, options: TestOptions, given: string | undefined, json: boolean): void {
  const path =
    given ??
    (options.policy === undefined ? chooseFolder(context, options).policy : resolve(context.cwd, options.policy));
  const { policy, problems } = readGrantedPolicy(path, undefined, uidOf(), context.clock.now() / 1000);
  if (json) {
    const rules = policy.rules.map(({ name, grant }) => (grant === undefined ? name : `${name} (${grant.id})`));
    writeJson(context.stdout, { policy: path, digest: policy.digest, rules, problems });
    return;
  }
  writeLine(context.stdout, `${path} is a good policy (${policy.digest.slice(0, 19)})`);
  for (const rule of policy.rules) {
    const open = rule.runtimes.has('process') ? '; its work is not contained (runtime process)' : '';
    writeLine(
      context.stdout,
      plain(
        `  ${titleOf(rule)}: for ${[...rule.pins].join(', ') || 'nobody but by a grant'}, in ${[...rule.runtimes].join(', ')}${open}`,
      ),
    );
  }
  if (policy.rules.length === 0) writeLine(context.stdout, '  no rules: nothing is allowed');
  for (const problem of problems) writeLine(context.stdout, plain(`  ${problem}`));
}

const titleOf = ({ name, grant }: ResolvedPolicy['rules'][number]): string =>
  grant === undefined ? `rule "${name}"` : `rule "${name}" by ${grant.id}`;

function testCall(context: CliContext, options: TestOptions, path: string, json: boolean): void {
  const folder = chooseFolder(context, options);
  const nowS = context.clock.now() / 1000;
  const identity = readIdentity(folder, nowS);
  const policyPath = options.policy === undefined ? folder.policy : resolve(context.cwd, options.policy);
  const { policy } = readGrantedPolicy(policyPath, identity.endpoint, uidOf(), nowS);
  const call = readCall(path);
  const { admission, lines } = explainAdmission({
    ticket: call.ticket,
    chain: call.chain,
    manifest: call.manifest,
    policy,
    endpoint: identity.endpoint,
    ledgerEpoch: { n: 1, since: 0 },
    nowS,
    // What the ledger holds is the running agent's to know: this is the decision on a ticket that it sees first.
    known: () => undefined,
  });
  if (json) {
    const outcome =
      admission.kind === 'refuse'
        ? { ...admission.refusal }
        : { rule: admission.kind === 'admit' ? admission.rule.name : undefined };
    writeJson(context.stdout, { outcome: admission.kind, ...outcome, lines });
  } else for (const line of lines) writeLine(context.stdout, plain(line));
  if (admission.kind === 'refuse') throw new FarfieldError(admission.refusal.code, 'this policy refuses the call');
}

function readCall(path: string): Static<typeof CallFile> {
  let text: Uint8Array;
  try {
    if (statSync(path).size > 1024 * 1024) throw usage(`${path} is too large for a call`);
    text = readFileSync(path);
  } catch (cause) {
    if (cause instanceof FarfieldError) throw cause;
    throw new FarfieldError('E_NOT_FOUND', `cannot read ${path}`, { cause });
  }
  if (/^eyJ/.test(fromUtf8(text).trimStart()))
    throw usage(
      `${path} is a bare ticket: policies judge its chain and manifest too. \`farfield submit ... --save FILE\` writes all three`,
    );
  return assertShape(CallFile, parseStrict(text, 'E_USAGE'), 'E_USAGE', path);
}
