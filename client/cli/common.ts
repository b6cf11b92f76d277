/** What the verbs of a client share: the user's folder, a client for the configured broker, names of endpoints. */
import { type CliContext, usage, writeLine } from '#base/cli.ts';
import { plain } from '#base/plain.ts';
import { egressFromEnv, openEgress } from '#base/proxy.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { parseInvocationId, THUMBPRINT } from '#kernel/ids.ts';
import { type Client, createClient } from '../ts/client.ts';
import { type Home, openHome } from '../ts/home.ts';
import { createNotices, type Notices } from './notices.ts';

export interface ClientSetting {
  readonly home: Home;
  readonly client: Client;
  readonly notices: Notices;
}

/**
 * Opens a client for the profile and session in the user's folder. The caller disposes of it, which first tells what sites decided
 * about this user's access meanwhile (notices.ts).
 */
export async function openClient(context: CliContext): Promise<ClientSetting> {
  const home = openHome(context.home);
  const pins = await home.pins();
  const seqOf = new Map(pins.map((pin) => [pin.endpoint, pin.seq]));
  let notices: Notices | undefined;
  const client = createClient({
    broker: await home.profile(),
    egress: openEgress(egressFromEnv(context.env)),
    session: await home.session(context.clock.now() / 1000),
    clock: context.clock,
    random: context.random,
    noteTickets: (tickets) => home.noteTickets(tickets),
    sentTicket: async (id) => (await home.sentTickets()).findLast((sent) => sent.id === id),
    minSeq: (endpoint) => seqOf.get(endpoint) ?? 1,
    onNotice: (message) => writeLine(context.stderr, `note: ${plain(message)}`),
    onAccess: (newest) => notices?.saw(newest),
  });
  const tell = createNotices(context, home, client);
  notices = tell;
  const telling: Client = {
    ...client,
    async [Symbol.asyncDispose]() {
      // Whoever interrupts a command waits for nothing more.
      if (!context.signal.aborted) await tell.show();
      await client[Symbol.asyncDispose]();
    },
  };
  return { home, client: telling, notices: tell };
}

/**
 * An endpoint id from an id or a pinned name. Names are never resolved by the broker: it could answer with another's.
 * An unknown id is pinned on first use only with a terminal to warn on.
 */
export async function resolveEndpoint(context: CliContext, home: Home, name: string): Promise<string> {
  const pins = await home.pins();
  const pin = pins.find((known) => known.name === name || known.endpoint === name);
  if (pin !== undefined) return pin.endpoint;
  if (!THUMBPRINT.test(name)) {
    const known = pins.map((each) => each.name).join(', ') || 'none';
    throw new FarfieldError(
      'E_ENDPOINT_UNKNOWN',
      `no endpoint is pinned as "${name}" (pinned: ${known}). Get its id from the site and run \`farfield login --pin NAME=ID\``,
    );
  }
  if (context.stdin.isTTY !== true) {
    throw new FarfieldError(
      'E_ENDPOINT_UNKNOWN',
      `endpoint ${name} is not pinned. Check the id with the site, then run \`farfield login --pin NAME=${name}\``,
    );
  }
  writeLine(context.stderr, `warning: first use of endpoint ${name}; compare this id with what the site published`);
  await home.savePins([...pins, { name: name.slice(0, 8), endpoint: name, seq: 1 }]);
  return name;
}

/** Splits an id given on the command line: `<ticket>` or `<ticket>.<item>`. */
export function parseTarget(text: string): { ticket: string; item: number | undefined } {
  if (/^[0-9a-f]{32}$/.test(text)) return { ticket: text, item: undefined };
  const parsed = parseInvocationId(text);
  if (parsed === undefined)
    throw usage(`"${text}" is no invocation id: 32 hex digits, then .ITEM if you mean one item`);
  return parsed;
}

/** Seconds of a life such as 90s, 15m, 12h, 4d. */
export function parseDuration(text: string): number {
  const match = /^(\d+)(s|m|h|d)$/.exec(text);
  if (match === null) throw usage(`"${text}" is no duration; write 90s, 15m, 12h or 4d`);
  return Number(match[1]) * { s: 1, m: 60, h: 3600, d: 86400 }[match[2] as 's' | 'm' | 'h' | 'd'];
}
