/** What an admin runs before the agent: check, render, test-job. Schedulers are scripts on PATH. */
import '../../leaks.ts';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { clockFinding } from '../../../agent/cli/check-broker.ts';
import { userNamespaces } from '../../../agent/cli/check-runtimes.ts';
import type { Finding } from '../../../agent/cli/findings.ts';
import { hellosIn } from '../../../agent/cli/test-job.ts';
import { answer, type Ran, type } from './parts.ts';

interface Place {
  readonly home: string;
  readonly state: string;
  readonly bin: string;
  run(...argv: string[]): Promise<Ran>;
  config(text: string): void;
  /** A command of the site's scheduler. */
  command(name: string, body: string): void;
}

async function openPlace(t: Test): Promise<Place> {
  const home = mkdtempSync(join(tmpdir(), 'farfield-check-'));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const bin = join(home, 'bin');
  mkdirSync(bin);
  const state = join(home, 'endpoints', 'here');
  const run = (...argv: string[]): Promise<Ran> => type({ home }, 'endpoint', ...argv);
  t.equal((await run('init', '--name', 'here')).code, 0);
  return {
    home,
    state,
    bin,
    run,
    config: (text) => writeFileSync(join(state, 'config.yaml'), text, { mode: 0o600 }),
    command(name, body) {
      writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(bin, name), 0o755);
    },
  };
}

const findings = (ran: Ran): Finding[] => answer(ran).findings as Finding[];
const found = (ran: Ran, code: string): Finding | undefined => findings(ran).find((each) => each.code === code);

/** Slurm's commands, which run the job at once on this machine. */
function slurm(place: Place): void {
  const { bin } = place;
  place.config(
    `blocks: { scheduler: slurm, batch: { account: lab, queue: short, commandPath: "${bin}:/usr/bin:/bin" } }\n`,
  );
  place.command(
    'sbatch',
    [
      `[ "$1" = --version ] && echo "slurm 24.11.5" && exit`,
      `[ "$1" = --parsable ] || exit 2`,
      `log=$(sed -n 's/^#SBATCH --output=//p' "$2")`,
      `echo "$2" > ${bin}/name; sed -n 's/^#SBATCH --job-name=//p' "$2" > ${bin}/jobname`,
      `SLURM_JOB_ID=77 SLURM_JOB_END_TIME=4000000000 bash "$2" > "$log" 2>&1; echo 77`,
    ].join('\n'),
  );
  ended(place, 'COMPLETED');
  place.command('scontrol', 'exit 1');
  place.command('scancel', 'exit 0');
}

/** What the scheduler's listings say of the one job there was. */
function ended(place: Place, word: string): void {
  const name = `[ -e ${place.bin}/jobname ] || exit 0\nname=$(cat ${place.bin}/jobname)`;
  place.command(
    'squeue',
    `[ "$1" = --version ] && echo "slurm 21.08.1" && exit\n${name}\necho "77|$name|${word}|N/A|n1|None"`,
  );
  place.command('sacct', `${name}\necho "77|$name|${word}|0:0|n1|None"`);
}

t.test('check says of each part whether it works, what to do where not, and ends with 1', async (t) => {
  const place = await openPlace(t);
  const ran = await place.run('check', '--json');
  t.equal(ran.code, 1, 'it has joined no broker');
  t.match(found(ran, 'broker'), { level: 'fail', remedy: /endpoint join/ });
  t.match(found(ran, 'policy'), { level: 'warn', remedy: /endpoint trust/ });
  t.match(found(ran, 'config'), { level: 'ok' });
  t.match(found(ran, 'scheduler'), { level: 'ok', what: /local/ });
  for (const { level, remedy, code } of findings(ran)) if (level !== 'ok') t.ok(remedy, `${code} has a remedy`);
  const offline = await place.run('check', '--no-network');
  t.equal(offline.code, 0, 'warnings alone do not fail');
  t.match(offline.stdout, /WARN {2}policy[\s\S]*-> write a rule/);
  chmodSync(join(place.state, 'keys'), 0o755);
  place.config('blocks: { slotz: 3 }\n');
  const broken = await place.run('check', '--no-network', '--json');
  t.equal(broken.code, 1);
  t.match(found(broken, 'config'), { level: 'fail', what: /slotz/ });
  t.match(found(broken, 'folder'), { level: 'fail', remedy: /chmod 700/ });
});

t.test('check finds a scheduler whose commands are missing, silent or strange', async (t) => {
  const place = await openPlace(t);
  slurm(place);
  const good = await place.run('check', '--no-network', '--json');
  t.match(found(good, 'scheduler'), { level: 'ok', what: /slurm 24\.11\.5/ });
  place.command('squeue', 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1');
  t.match(found(await place.run('check', '--no-network', '--json'), 'scheduler'), {
    level: 'fail',
    what: /Unable to contact/,
    remedy: /squeue/,
  });
  rmSync(join(place.bin, 'scancel'));
  t.match(found(await place.run('check', '--no-network', '--json'), 'scheduler'), {
    level: 'fail',
    what: /scancel/,
    remedy: /commandPath/,
  });
});

t.test('render shows the script and the command, and submits nothing', async (t) => {
  const place = await openPlace(t);
  slurm(place);
  const shown = await place.run('render', '--nodes', '2', '--walltime', '30m', '--queue', 'long', '--user', 'alice');
  t.equal(shown.code, 0, shown.stderr);
  t.match(shown.stdout, /#SBATCH --partition=long/);
  t.match(shown.stdout, /#SBATCH --account=lab/);
  t.match(shown.stdout, /#SBATCH --nodes=2/);
  t.match(shown.stdout, /#SBATCH --time=00:30:00/);
  t.match(shown.stdout, /users=alice/);
  t.match(shown.stdout, /sbatch --parsable \S+job\.sh/);
  t.notMatch(shown.stdout, /eyJ/, 'no token');
  t.notOk(readdirSync(place.bin).includes('jobname'), 'nothing was submitted');
  t.same(readdirSync(place.home).includes('blocks'), false);
  const json = answer(await place.run('render', '--json'));
  t.match(json, { scheduler: 'slurm', argv: ['sbatch', '--parsable'], files: [{ name: 'job.sh' }] });
  t.equal((await place.run('render', '--walltime', 'soon')).code, 2);
});

t.test('test-job says hello from a node of the local machine, and leaves nothing', async (t) => {
  const place = await openPlace(t);
  const ran = await place.run('test-job', '--json');
  t.equal(ran.code, 0, ran.stdout + ran.stderr);
  t.match(answer(ran), { good: true, left: [], times: { helloMs: Number, doneMs: Number } });
  t.same(readdirSync(join(place.state, 'blocks')), []);
});

t.test('test-job goes through the scheduler’s own script, and a failure shows what the job printed', async (t) => {
  const place = await openPlace(t);
  slurm(place);
  const good = await place.run('test-job', '--json');
  t.equal(good.code, 0, good.stdout + good.stderr);
  t.match(answer(good), { good: true, job: '77', output: /hello[\s\S]*job 77/ });
  slurm(place);
  place.config(
    `blocks: { scheduler: slurm, batch: { setup: ["echo module: no such module apptainer >&2", "exit 9"], commandPath: "${place.bin}:/usr/bin:/bin" } }\n`,
  );
  ended(place, 'FAILED');
  const bad = await place.run('test-job');
  t.equal(bad.code, 1);
  t.match(bad.stdout, /no such module apptainer/);
  t.match(bad.stderr, /test job failed/);
  place.command(
    'sbatch',
    'echo "sbatch: error: Invalid account or account/partition combination specified" >&2; exit 1',
  );
  const refused = await place.run('test-job');
  t.equal(refused.code, 1);
  t.match(refused.stderr, /Invalid account/);
});

t.test('hellos are counted by lines of the job alone', async (t) => {
  t.same(hellosIn('x\nfarfield-test-job hello n1\nnot farfield-test-job hello n2\nfarfield-test-job hello n3\n'), [
    'n1',
    'n3',
  ]);
});

t.test('clocks that differ and kernels without user namespaces are found', async (t) => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const at = (offsetS: number): string => new Date(now + offsetS * 1000).toUTCString();
  t.match(clockFinding(at(0), now), [{ level: 'ok' }]);
  t.match(clockFinding(at(30), now), [{ level: 'warn' }]);
  t.match(clockFinding(at(-300), now), [{ level: 'fail', remedy: /chronyd/ }]);
  t.match(clockFinding(undefined, now), [{ level: 'warn' }]);
  const kernel = (files: Record<string, string>) => userNamespaces((path) => files[path.split('/').at(-1) ?? '']);
  t.match(kernel({ max_user_namespaces: '100' }), [{ level: 'ok' }]);
  t.match(kernel({ max_user_namespaces: '0' }), [{ level: 'warn', remedy: /sysctl/ }]);
  t.match(kernel({ unprivileged_userns_clone: '0' }), [{ level: 'warn' }]);
  t.match(kernel({ apparmor_restrict_unprivileged_userns: '1' }), [{ level: 'warn', what: /AppArmor/ }]);
});
