/** Whether containers can start here: the programs, user namespaces, and the image cache. */
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { promisify } from 'node:util';
import type { CliContext } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { readPolicy } from '../admission/policy.ts';
import type { ResolvedAgentConfig } from '../config.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { type Finding, fail, ok, warn } from './findings.ts';
import { findCommand } from './site.ts';

const LIMIT_MS = 20_000;
const run = promisify(execFile);

/** The runtimes that some rule allows: others need not be there. */
export function allowedRuntimes(folder: AgentFolder): ReadonlySet<string> {
  try {
    const policy = readPolicy(folder.policy, undefined, process.getuid?.() ?? 0);
    return new Set(policy.rules.flatMap((rule) => [...rule.runtimes]));
  } catch {
    return new Set();
  }
}

export async function checkRuntimes(
  _context: CliContext,
  folder: AgentFolder,
  config: ResolvedAgentConfig,
): Promise<Finding[]> {
  const allowed = allowedRuntimes(folder);
  const findings: Finding[] = [];
  for (const name of ['apptainer', 'podman'] as const) {
    if (allowed.has(name))
      findings.push(await program(name, config.containers[name], config.env.PATH ?? '/usr/bin:/bin', config));
  }
  if (allowed.has('apptainer') || allowed.has('podman')) findings.push(...userNamespaces());
  if (findings.length === 0) findings.push(ok('runtime', 'no rule asks for containers; process is always there'));
  return findings;
}

async function program(name: string, configured: string, path: string, config: ResolvedAgentConfig): Promise<Finding> {
  const file = findCommand(configured, path);
  const away = config.blocks.scheduler === 'local' ? fail : warn;
  if (file === undefined)
    return away(
      'runtime',
      `${configured} is not on ${path} of this host, and rules allow ${name}`,
      `install ${name}, or name it: containers: { ${name}: /path } in config.yaml; on nodes that have it by a module, load it in blocks.batch.setup`,
    );
  try {
    const { stdout } = await run(file, ['--version'], { timeout: LIMIT_MS, env: { PATH: path, LC_ALL: 'C' } });
    return ok('runtime', `${file}: ${plainLine(stdout.trim())}`);
  } catch (reason) {
    return away('runtime', `${file} --version: ${plainLine((reason as Error).message)}`, `run it by hand as this user`);
  }
}

/** The kernel's switches, without starting anything. A set-uid Apptainer does without them, and is rare by now. */
export function userNamespaces(read: (path: string) => string | undefined = readText): Finding[] {
  const most = Number(read('/proc/sys/user/max_user_namespaces') ?? '1');
  const debian = read('/proc/sys/kernel/unprivileged_userns_clone');
  const apparmor = read('/proc/sys/kernel/apparmor_restrict_unprivileged_userns');
  if (most === 0 || debian === '0')
    return [
      warn(
        'user-namespaces',
        'this kernel gives no user namespaces to people without root, which containers need',
        'as root: sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1, or install Apptainer set-uid',
      ),
    ];
  if (apparmor === '1')
    return [
      warn(
        'user-namespaces',
        'AppArmor restricts user namespaces to programs with a profile',
        'install Apptainer from its package (it brings a profile), or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0',
      ),
    ];
  return [ok('user-namespaces', 'user namespaces are there')];
}

function readText(path: string): string | undefined {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  return readFileSync(path, 'utf8').trim();
}
