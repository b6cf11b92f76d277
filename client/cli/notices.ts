/**
 * What sites decided about this user's requests for access, told at the next command that talks to the broker.
 *
 * Invariants
 *  N1 A line is printed only for what the endpoint itself signed for this key, as a notice: the broker can keep one back or show an
 *     old one again, which its time shows; it can make none.
 *  N2 Each decision is told once in each home, on stderr, behind what the command was asked for. Trouble here changes no exit code.
 *  N3 No request is spent on it: every signed answer carries the number of the newest notice (`Farfield-Access`); only one that
 *     this home has not seen is fetched.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CliContext, writeLine } from '#base/cli.ts';
import { openPrivateFolder, writeDurable } from '#base/files.ts';
import { plainLine } from '#base/plain.ts';
import { ACCESS_NOTICE } from '#kernel/access.ts';
import { utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import { openToken } from '#kernel/jws.ts';
import type { AccessEntry } from '#kernel/tokens/claims.ts';
import { type AccessTold, ROUTES } from '#protos/http.ts';
import type { Client } from '../ts/client.ts';
import type { Home } from '../ts/home.ts';

/** The endpoint's word, or an error: E_RECEIPT for what is no notice to this key. */
export function openNotice(
  answer: string,
  { id, online, principal }: { readonly id: string; readonly online: PublicJwk; readonly principal: string },
): readonly AccessEntry[] {
  const { claims } = openToken('farfield-access-answer+jwt', answer, online);
  if (claims.endpoint !== id || claims.aud !== principal || claims.req !== ACCESS_NOTICE)
    throw new FarfieldError('E_RECEIPT', `what the broker passed on as a notice of endpoint ${id} is none to this key`);
  return claims.entries;
}

export function describeEntry({ id, state, at, until, rule, reason }: AccessEntry): string {
  const date = (seconds: number): string => new Date(seconds * 1000).toISOString();
  const words = [
    ...(until === undefined ? [] : [`until ${date(until)}`]),
    ...(rule === undefined ? [] : [`by rule "${plainLine(rule)}"`]),
    ...(reason === undefined ? [] : [`: ${plainLine(reason, 500)}`]),
  ];
  const shown = state === 'waiting' ? "waits for the site's admin" : state;
  return `${id}  ${date(at)}  ${shown}${words.length === 0 ? '' : ` ${words.join(' ')}`}`;
}

export interface Notices {
  /** The header of an answer. */
  saw(newest: string): void;
  /** This command has shown how things stand there itself. */
  told(endpoint: string): void;
  /** One that came as an event: its lines. */
  verified(endpoint: string, answer: string): Promise<readonly AccessEntry[]>;
  /** Prints what this home was not told yet. */
  show(): Promise<void>;
}

/** What this home was told: of the latest answer of each endpoint, as `endpoint id state`. */
interface Seen {
  readonly newest: string;
  readonly told: readonly string[];
}

export function createNotices(context: CliContext, home: Home, client: Client): Notices {
  const path = join(home.folder, 'notices.json');
  const here = new Set<string>();
  let newest: string | undefined;

  async function verified(endpoint: string, answer: string): Promise<readonly AccessEntry[]> {
    const { descriptorToken } = await client.endpoint(endpoint);
    return openNotice(answer, { id: endpoint, online: descriptorToken.claims.sign, principal: client.principal });
  }

  async function tell(seen: Seen): Promise<void> {
    const { generation, answers } = await client.http.json<AccessTold>({ method: 'GET', path: ROUTES.accessTold.url });
    const names = new Map((await home.pins()).map((pin) => [pin.endpoint, pin.name]));
    const told: string[] = [];
    for (const { endpoint, answer } of answers) {
      const name = names.get(endpoint) ?? endpoint;
      try {
        for (const entry of await verified(endpoint, answer)) {
          const key = `${endpoint} ${entry.id} ${entry.state}`;
          told.push(key);
          if (!seen.told.includes(key) && !here.has(endpoint))
            writeLine(context.stderr, `note: access at ${plainLine(name)}: ${describeEntry(entry)}`);
        }
      } catch (reason) {
        // The others are told all the same; this one stays untold until the endpoint's word holds.
        writeLine(
          context.stderr,
          `note: access at ${plainLine(name)}: ${plainLine(FarfieldError.from(reason).message)}`,
        );
      }
    }
    const last = answers.at(-1);
    if (last === undefined) return;
    openPrivateFolder(home.folder);
    const after: Seen = { newest: `${generation}.${last.seq}`, told };
    await writeDurable(path, utf8(`${JSON.stringify(after)}\n`), 0o600);
  }

  return {
    saw(text) {
      newest = text;
    },
    told: (endpoint) => void here.add(endpoint),
    verified,
    async show() {
      if (newest === undefined) return;
      try {
        const seen = await readSeen(path);
        if (seen.newest !== newest) await tell(seen);
      } catch {
        // N2: it is told at the next command.
      }
    },
  };
}

/** A damaged file costs a line that was told before. */
async function readSeen(path: string): Promise<Seen> {
  try {
    const { newest, told } = JSON.parse(await readFile(path, 'utf8')) as Partial<Seen>;
    return { newest: String(newest), told: Array.isArray(told) ? told : [] };
  } catch {
    return { newest: '', told: [] };
  }
}
