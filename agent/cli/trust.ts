/**
 * Pins a key in the policy file without touching what else stands there, comments included.
 *
 * The new text is resolved as the agent would before it replaces the old one: a verb must not be what breaks a policy.
 */
import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { isMap, isSeq, parseDocument } from 'yaml';
import { writeDurable } from '#base/files.ts';
import { loadYaml } from '#base/yaml.ts';
import { utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { THUMBPRINT } from '#kernel/ids.ts';
import { resolvePolicy } from '#kernel/policy/resolve.ts';

export interface Trust {
  readonly kid: string;
  readonly name: string;
  readonly untilS: number;
}

/** Adds the pin, or moves the end of one that is there. Returns what it replaced. */
export async function trustKey(path: string, endpoint: string, trust: Trust): Promise<{ readonly renewed: boolean }> {
  if (!THUMBPRINT.test(trust.kid))
    throw new FarfieldError(
      'E_USAGE',
      `"${trust.kid}" is no key id: 43 characters, as \`farfield keys show\` prints it`,
    );
  const before = readFileSync(path, 'utf8');
  const { text, renewed } = withPin(before, path, trust);
  const bytes = utf8(text);
  resolvePolicy(loadYaml(text, path).value, bytes, {
    endpoint,
    readJwks: (name) => JSON.parse(readFileSync(join(dirname(path), name), 'utf8')),
  });
  await writeDurable(path, bytes, 0o600);
  return { renewed };
}

function withPin(before: string, path: string, trust: Trust): { text: string; renewed: boolean } {
  const doc = parseDocument(before);
  const [problem] = doc.errors;
  if (problem !== undefined)
    throw new FarfieldError('E_BAD_REQUEST', `${basename(path)} is no YAML: ${problem.message}`);
  // A date of whole days reads better; a pin for an hour needs its minutes.
  const entry = {
    kid: trust.kid,
    name: trust.name,
    until: new Date(trust.untilS * 1000).toISOString().replace(/\.\d+Z$/, 'Z'),
  };
  if (!doc.hasIn(['authorities', 'pinned'])) doc.setIn(['authorities', 'pinned'], doc.createNode([]));
  const pinned = doc.getIn(['authorities', 'pinned']);
  if (!isSeq(pinned)) throw new FarfieldError('E_BAD_REQUEST', `authorities.pinned in ${path} is no list`);
  const known = pinned.items.find((item) => isMap(item) && item.get('kid') === trust.kid);
  if (isMap(known)) {
    known.set('name', entry.name);
    known.set('until', entry.until);
  } else {
    // An empty list is written [] in one line: more entries read better below each other.
    pinned.flow = false;
    pinned.add(doc.createNode(entry));
  }
  return { text: doc.toString({ lineWidth: 0 }), renewed: known !== undefined };
}
