/**
 * Arguments of a call as the command line writes them.
 *
 *     NAME=FILE[:/DATASET]             a file here: inline when small, else uploaded once as a blob
 *     NAME=endpoint:/PATH[:/DATASET]   a file at the endpoint, which stays there
 *     NAME=json:TEXT                   a JSON value
 */
import { readFile, stat } from 'node:fs/promises';
import { extname, isAbsolute, resolve } from 'node:path';
import { type CliContext, usage } from '#base/cli.ts';
import { utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_INLINE_BYTES } from '#kernel/limits.ts';
import type { ArgType } from '#kernel/tokens/claims.ts';
import type { Client } from '../ts/client.ts';
import type { ArgInput } from '../ts/submission.ts';
import type { ProgressLine } from './progress.ts';

const TYPES: Record<string, ArgType> = {
  '.h5': 'hdf5',
  '.hdf5': 'hdf5',
  '.nxs': 'hdf5',
  '.npy': 'npy',
  '.arrow': 'arrow',
  '.json': 'json',
};

interface FileText {
  readonly path: string;
  readonly sel: string | undefined;
}

/** Splits FILE:/DATASET at the last `:/`, so that a Windows-less path may hold colons. */
export function splitFile(text: string): FileText {
  const at = text.lastIndexOf(':/');
  return at > 0 ? { path: text.slice(0, at), sel: text.slice(at + 1) } : { path: text, sel: undefined };
}

function typeOf(path: string): ArgType {
  const type = TYPES[extname(path).toLowerCase()];
  if (type === undefined)
    throw usage(`cannot tell the type of ${path}; its name must end in ${Object.keys(TYPES).join(', ')}`);
  return type;
}

/** What an argument says of itself before anything is read or sent. */
export function argHead(text: string): { readonly name: string; readonly type: ArgType; readonly value: string } {
  const equals = text.indexOf('=');
  if (equals < 1) throw usage(`"${text}" is no argument; write NAME=FILE, NAME=endpoint:/PATH or NAME=json:TEXT`);
  const value = text.slice(equals + 1);
  const type = value.startsWith('json:') ? 'json' : typeOf(splitFile(value.replace(/^endpoint:/, '')).path);
  return { name: text.slice(0, equals), type, value };
}

/** `to` takes large files: a broker, or a mere look that only measures them. */
export async function readArg(
  context: CliContext,
  to: Pick<Client, 'uploadFile'>,
  text: string,
  line: ProgressLine,
): Promise<ArgInput> {
  const { name, type, value } = argHead(text);
  if (value.startsWith('json:')) return jsonArg(name, value.slice(5));
  if (value.startsWith('endpoint:')) {
    const { path, sel } = splitFile(value.slice('endpoint:'.length));
    if (!isAbsolute(path)) throw usage(`${name}: a path at the endpoint is absolute, not "${path}"`);
    return { name, type, path, ...(sel === undefined ? {} : { sel }) };
  }
  return fileArg(context, to, name, type, splitFile(value), line);
}

function jsonArg(name: string, text: string): ArgInput {
  try {
    JSON.parse(text);
  } catch (cause) {
    throw new FarfieldError('E_INPUT', `${name}: not JSON: ${(cause as Error).message}`);
  }
  return { name, type: 'json', bytes: utf8(text) };
}

async function fileArg(
  context: CliContext,
  to: Pick<Client, 'uploadFile'>,
  name: string,
  type: ArgType,
  file: FileText,
  line: ProgressLine,
): Promise<ArgInput> {
  const path = resolve(context.cwd, file.path);
  const sel = file.sel === undefined ? {} : { sel: file.sel };
  const found = await stat(path).catch((cause: unknown) => {
    throw new FarfieldError('E_INPUT', `${name}: cannot read ${path}. Is the path right?`, { cause });
  });
  if (!found.isFile()) throw new FarfieldError('E_INPUT', `${name}: ${path} is not a file`);
  if (found.size <= MAX_INLINE_BYTES) return { name, type, bytes: await readFile(path), ...sel };
  const blob = await to.uploadFile(path, (sent, size) => line.show(`uploading ${file.path}`, sent, size));
  line.clear();
  return { name, type, blob, ...sel };
}
