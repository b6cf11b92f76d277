/**
 * `farfield`: one command for scientists, site admins and broker operators.
 *
 * The verbs of the agent and the broker live in their own folders and are loaded only when named: the one exception to the
 * import law, so that `farfield run` starts without the code of a server.
 */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { buildText, readBuild } from '#base/build.ts';
import { type CliContext, EXIT, exitCodeOf, type RegisterVerb, reportError } from '#base/cli.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';

interface VerbModule {
  readonly register: RegisterVerb;
}

/** The word after `farfield` -> the files whose verbs it may need. Nothing else is loaded. */
const VERBS: Record<string, { readonly about: string; readonly load: () => Promise<VerbModule> }> = {
  keys: { about: 'show or make your long-term key', load: () => import('./keys.ts') },
  login: { about: 'make a session key, delegated by your long-term key', load: () => import('./login.ts') },
  function: { about: 'sign a function or model manifest as its publisher', load: () => import('./function.ts') },
  model: { about: 'make the error calibration of a model', load: () => import('./model.ts') },
  run: { about: 'submit a call, follow it, and fetch the verified result', load: () => import('./run.ts') },
  submit: { about: 'submit a call and print its id', load: () => import('./submit.ts') },
  status: { about: 'where your calls are', load: () => import('./status.ts') },
  logs: { about: 'what a call prints', load: () => import('./logs.ts') },
  result: { about: 'fetch and verify a result', load: () => import('./result.ts') },
  receipt: { about: 'export the signed proof of one result, and check one', load: () => import('./receipt.ts') },
  access: { about: 'ask a site for access, and see how that stands', load: () => import('./access.ts') },
  usage: { about: 'what your own calls used, from their receipts', load: () => import('./usage.ts') },
  cancel: { about: 'cancel a call, or some of its items', load: () => import('./cancel.ts') },
  events: { about: 'follow everything of yours', load: () => import('./events.ts') },
  endpoint: { about: 'deploy and run an endpoint (site admins)', load: () => import('../../agent/cli/endpoint.ts') },
  policy: {
    about: 'check a site policy against a call (site admins)',
    load: () => import('../../agent/cli/policy.ts'),
  },
  image: { about: 'container images of an endpoint (site admins)', load: () => import('../../agent/cli/image.ts') },
  broker: { about: 'run a broker (operators)', load: () => import('../../broker/cli/broker.ts') },
};

const EXIT_TEXT = `
Exit codes: 0 ok, 1 the work failed, 2 usage, 3 not authorised, 4 not found, 5 refused by policy, 6 unavailable or offline,
7 bad input, 8 unresolved (no verified receipt yet), 70 a defect.`;

export async function runCli(argv: readonly string[], context: CliContext): Promise<number> {
  const program = new Command('farfield')
    .description('Signed functions and models on other people’s clusters.')
    .option('--json', 'machine-readable output: JSON on stdout')
    .version(buildText(readBuild()))
    .addHelpText('after', EXIT_TEXT)
    .showSuggestionAfterError()
    .showHelpAfterError('`farfield --help` lists the verbs, `farfield VERB --help` what a verb takes')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
    });
  const json = argv.includes('--json');
  const words = argv.filter((arg) => !arg.startsWith('-'));
  // `help run` is about the verb after it.
  const word = words[0] === 'help' ? words[1] : words[0];
  try {
    const verb = word === undefined ? undefined : VERBS[word];
    if (verb === undefined)
      for (const [name, { about }] of Object.entries(VERBS)) program.command(name).description(about);
    else (await verb.load()).register(program, context);
    inherit(program);
    await program.parseAsync([...argv], { from: 'user' });
    return EXIT.ok;
  } catch (cause) {
    if (cause instanceof CommanderError) return usageExit(context, cause, json);
    const error = FarfieldError.from(cause);
    reportError(context, error, json);
    return exitCodeOf(error);
  }
}

/** Commander has written its message for people; with --json the error is the last line of stdout as every other is. */
function usageExit(context: CliContext, cause: CommanderError, json: boolean): number {
  if (cause.exitCode === 0) return EXIT.ok;
  if (json) reportError(context, new FarfieldError('E_USAGE', cause.message.replace(/^error: /, '')), true);
  return EXIT.usage;
}

/** Commander does not pass these on to commands that a verb file adds. */
function inherit(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    if (!command.options.some((option) => option.long === '--json'))
      command.option('--json', 'machine-readable output: JSON on stdout');
    inherit(command);
  }
}

function main(): void {
  const stop = new AbortController();
  process.once('SIGINT', () =>
    stop.abort(new FarfieldError('E_UNRESOLVED', 'interrupted; the call goes on. `farfield status` shows it')),
  );
  process.once('SIGTERM', () => stop.abort(new FarfieldError('E_UNRESOLVED', 'terminated; the call goes on')));
  const context: CliContext = {
    env: process.env,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    cwd: process.cwd(),
    home: process.env.FARFIELD_HOME ?? join(homedir(), '.config', 'farfield'),
    clock: systemClock,
    random: systemRandom,
    signal: stop.signal,
    self: [process.execPath, fileURLToPath(import.meta.url)],
  };
  // A reader that left (`farfield events | head`) is no error of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : EXIT.defect));
  void runCli(process.argv.slice(2), context).then((code) => {
    process.exitCode = code;
  });
}

if (import.meta.main) main();
