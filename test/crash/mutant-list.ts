/**
 * What test/crash/mutants.ts seeds: each mutant breaks one promise (test/mutants.md says which) by one small patch.
 *
 * `from` must be in its file exactly once; test/crash/mutant-list.test.ts holds that, so that a change to the code cannot
 * make a mutant apply to nothing unseen.
 */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly test: string;
}

const LEDGER = 'agent/admission/ledger-module.ts';
const LEDGER_TEST = 'test/agent/ledger/ledger.test.ts';
const ENGINE_TEST = 'test/agent/work/engine.test.ts';
const SCHEDULER = 'agent/schedulers/batch.ts';
const SCHEDULER_TEST = 'test/agent/schedulers/batch.test.ts';
const STORE_TEST = 'test/broker/store/store.test.ts';

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'ack before fsync: every store',
    file: 'base/sqlite/engine.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: text of the file
    from: 'pragma synchronous = ${o.synchronous}',
    to: 'pragma synchronous = off',
    test: 'test/base/sqlite/disk.test.ts',
  },
  {
    name: 'ack before commit: outcome at the broker',
    file: 'broker/links/session.ts',
    from: "    this.#command('complete', command, settled, pack);",
    to: "    session.send({ outcomeAck: { packNos: [packNo] } }, 'prompt');\n    this.#command('complete', command, settled, pack);",
    test: 'test/crash/strace.test.ts',
  },
  {
    name: 'ack before commit: outcome at the agent',
    file: 'agent/blocks/pilots.ts',
    from: '    takeDone(options, port, done, leaving)\n',
    to: "    session.send({ doneAck: { doneNo: done.doneNo } }, 'prompt');\n    takeDone(options, port, done, leaving)\n",
    test: 'test/crash/strace.test.ts',
  },
  {
    name: 'epoch forgotten: ledger',
    file: LEDGER,
    from: ' && u32At(row.epochs, i) === leaseEpoch',
    to: '',
    test: LEDGER_TEST,
  },
  {
    name: 'epoch forgotten: engine',
    file: 'agent/work/attempts.ts',
    from: ' && work.leaseEpochs[i] === leaseEpoch',
    to: '',
    test: ENGINE_TEST,
  },
  {
    name: 'epoch forgotten: delivery at the broker',
    file: 'broker/store/rules/work.ts',
    from: ' && ticket.deliveryEpoch === deliveryEpoch',
    to: '',
    test: STORE_TEST,
  },
  {
    name: 'spool deleted before the confirm: pilot',
    file: 'pilot/outcomes.ts',
    from: '    onSealed({ no: doneNo, message, bytes });',
    to: '    onSealed({ no: doneNo, message, bytes });\n    kept.delete(doneNo);',
    test: 'test/pilot/reconnect.test.ts',
  },
  {
    name: 'spool deleted before the confirm: outbox',
    file: 'base/link/outbox.ts',
    from: '    this.#cursor = 0;\n',
    to: '',
    test: 'test/base/link/outbox.test.ts',
  },
  {
    name: 'back-off reset on connect',
    file: 'base/link/supervisor.ts',
    from: 'if (outcome.heldMs >= (options.heldMs ?? HELD_MS)) backoff.reset();',
    to: 'backoff.reset();',
    test: 'test/base/link/supervisor.test.ts',
  },
  {
    name: 'completion by overwrite: broker',
    file: 'broker/store/rules/work.ts',
    from: 'if (before === undefined || isSigned(before)) {',
    to: 'if (before === undefined) {',
    test: STORE_TEST,
  },
  {
    name: 'completion by overwrite: ledger',
    file: LEDGER,
    from: 'if (!held && !waiting)',
    to: 'if (!held && !waiting && (row.states[i] ?? 0) < ITEM.ended)',
    test: LEDGER_TEST,
  },
  {
    name: 'retry without counting: failures in the rule',
    file: 'kernel/states/retry.ts',
    from: 'if (charged && failures >= maxFailures) {',
    to: 'if (charged && failures > maxFailures) {',
    test: 'test/kernel/states.test.ts',
  },
  {
    name: 'retry without counting: failures in the ledger',
    file: LEDGER,
    from: '      if (charged) row.failures[i] = Math.min(255, (row.failures[i] ?? 0) + 1);\n',
    to: '',
    test: LEDGER_TEST,
  },
  {
    name: 'retry without counting: failures in the engine',
    file: 'agent/work/attempts.ts',
    from: '      if (failure.charged) work.failures[held.i] = (work.failures[held.i] ?? 0) + 1;\n',
    to: '',
    test: ENGINE_TEST,
  },
  {
    name: 'retry without counting: starts in the ledger',
    file: LEDGER,
    from: '    row.starts[i] = (row.starts[i] ?? 0) + 1;\n',
    to: '',
    test: LEDGER_TEST,
  },
  {
    name: 'a second mirror for a part that comes together with another',
    file: 'agent/admission/admit.ts',
    from: ' ?? this.#entering.get(id)?.work;',
    to: ';',
    test: 'test/agent/admission/parts.test.ts',
  },
  {
    name: 'an admission leases what waited before',
    file: LEDGER,
    from: 'grantLease(row, { ...command.lease, items: fresh })',
    to: 'grantLease(row, command.lease)',
    test: 'test/agent/admission/parts.test.ts',
  },
  {
    name: 'an unknown scheduler state taken as finished',
    file: SCHEDULER,
    from: "    if (known.state.kind === 'unknown') {\n",
    to: "    if (known.state.kind === 'unknown') known.state = { kind: 'ended', cause: 'lost', why: known.state.why };\n    if (known.state.kind === 'unknown') {\n",
    test: SCHEDULER_TEST,
  },
  {
    name: 'a job submitted again after a lost reply',
    file: SCHEDULER,
    from: '      if (job !== undefined) return job.id;\n',
    to: '',
    test: SCHEDULER_TEST,
  },
];
