/**
 * `program`: starts this node's ranks of a program (function kind `mpi`), and waits for all of them.
 *
 * `entry` is {"program": "/absolute/path", "args": ["..."], "result": "json" | "bytes"}: argv, no shell. Every rank reads one
 * JSON object of the call's arguments on stdin, by name: JSON arguments as they are, files as {"path", "type", "sel"}. The
 * result is what rank 0 prints on stdout; the stdout of all others, and every stderr, goes to the log.
 *
 * Invariants
 *  P1 One rank that ends otherwise than with 0 ends all others here, and the call with its number and its node. The pilots
 *     of the other nodes hear it through the agent.
 *  P2 No launcher of MPI or of a scheduler is involved: what a rank must know is in its environment. What needs PMI to find
 *     its peers is not served by this.
 *  P3 What rank 0 prints beyond the call's limit ends the call: it is not cut, since half a result looks like one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { RunnerItem } from '#protos/runner.ts';
import type { Call, CallAdapter, CallResult } from './adapter.ts';

/** Of a failed rank's stderr, in the message of the failure. */
const LAST_WORDS = 1000;

type Gang = NonNullable<RunnerItem['gang']>;

interface Program {
  readonly path: string;
  readonly args: readonly string[];
  readonly result: 'json' | 'bytes';
}

export interface ProgramParts {
  /** What the runner itself was given: nothing of the site is in it (pilot/runtimes). */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: (bytes: Buffer) => void;
}

export function createProgram(parts: ProgramParts): CallAdapter {
  let program: Program | undefined;
  let calls = 0;
  return {
    probe: async () => ({ adapter: 'program', devices: ['cpu'], versions: {} }),
    async load({ entry }) {
      program = readEntry(entry);
      return {};
    },
    infer(call) {
      calls++;
      if (program === undefined) throw new FarfieldError('E_MANIFEST', 'no program was named');
      const { gang } = call.item;
      if (gang === undefined) throw new FarfieldError('E_PROTOCOL', 'a program that was told nothing of its ranks');
      return runRanks(parts, program, gang, call);
    },
    stats: () => ({ calls }),
    close: async () => {},
  };
}

function readEntry({ program, args = [], result = 'json', ...rest }: Readonly<Record<string, unknown>>): Program {
  const no = (why: string): never => {
    throw new FarfieldError('E_MANIFEST', `entry: ${why}`);
  };
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) return no(`${unknown} is no field of a program`);
  // A name would be looked for on a PATH that nobody signed.
  if (typeof program !== 'string' || !program.startsWith('/')) return no('program must be an absolute path');
  if (!Array.isArray(args) || !args.every((arg) => typeof arg === 'string')) return no('args must be texts');
  if (result !== 'json' && result !== 'bytes') return no('result must be "json" or "bytes"');
  return { path: program, args, result };
}

/** What every rank reads on stdin. */
function inputOf(call: Call): string {
  const input: Record<string, unknown> = {};
  for (const { arg, bytes } of call.args) {
    if (arg.at === 'file')
      input[arg.name] = { path: arg.path, type: arg.type, ...(arg.sel === undefined ? {} : { sel: arg.sel }) };
    else if (arg.type === 'json' && bytes !== undefined) input[arg.name] = JSON.parse(fromUtf8(bytes));
    else throw new FarfieldError('E_INPUT', `argument ${arg.name}: a program takes JSON, or files of any type`);
  }
  return JSON.stringify(input);
}

/** What a rank must know of the others. */
export function rankEnv(gang: Gang, localRank: number): Record<string, string> {
  const { nodes, nodeRank, ranksPerNode, address } = gang;
  return {
    FARFIELD_RANK: String(nodeRank * ranksPerNode + localRank),
    FARFIELD_RANKS: String(nodes.length * ranksPerNode),
    FARFIELD_LOCAL_RANK: String(localRank),
    FARFIELD_LOCAL_RANKS: String(ranksPerNode),
    FARFIELD_NODE_RANK: String(nodeRank),
    FARFIELD_NODES: nodes.join(','),
    FARFIELD_RENDEZVOUS: address,
  };
}

async function runRanks(parts: ProgramParts, program: Program, gang: Gang, call: Call): Promise<CallResult> {
  const input = inputOf(call);
  const children: ChildProcess[] = [];
  // The pilot ends the whole tree after the call, whatever it left; this is for those that are still beside it.
  const killAll = (): void => {
    for (const child of children) child.kill('SIGKILL');
  };
  const ranks = Array.from({ length: gang.ranksPerNode }, (_, local) => {
    const rank = gang.nodeRank * gang.ranksPerNode + local;
    const child = spawn(program.path, program.args, {
      env: { ...parts.env, ...rankEnv(gang, local) },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    children.push(child);
    return rankEnd(parts, child, { rank, node: gang.nodes[gang.nodeRank] ?? '?', input, limit: call.item.maxBytes });
  });
  call.onCancel = killAll;
  try {
    const outputs = await Promise.all(ranks);
    if (call.cancelled) throw new FarfieldError('E_CANCELLED', 'cancelled');
    return await resultOf(program, call, gang.nodeRank === 0 ? (outputs[0] ?? Buffer.alloc(0)) : undefined);
  } catch (reason) {
    killAll();
    await Promise.allSettled(ranks);
    throw call.cancelled ? new FarfieldError('E_CANCELLED', 'cancelled') : reason;
  }
}

interface Rank {
  readonly rank: number;
  readonly node: string;
  readonly input: string;
  readonly limit: number;
}

/** Resolves with what a rank printed, rank 0's alone; rejects where it did not end with 0 (P1). */
function rankEnd({ log }: ProgramParts, child: ChildProcess, { rank, node, input, limit }: Rank): Promise<Buffer> {
  const named = `rank ${rank} on node ${node}`;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let last = Buffer.alloc(0);
    child.stdout?.on('data', (chunk: Buffer) => {
      if (rank !== 0) return log(chunk);
      bytes += chunk.length;
      if (bytes <= limit) chunks.push(chunk);
      else reject(new FarfieldError('E_RESULT_TOO_LARGE', `${named} printed more than the ${limit} bytes of a result`));
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      last = Buffer.concat([last, chunk]).subarray(-LAST_WORDS);
      log(chunk);
    });
    child.once('error', (cause) => {
      reject(new FarfieldError('E_FUNCTION', `${named} could not be started: ${cause.message}`));
    });
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(chunks));
      const how = signal === null ? `ended with exit code ${code ?? '?'}` : `was ended by ${signal}`;
      const words = last.toString('utf8').trim();
      reject(new FarfieldError('E_FUNCTION', `${named} ${how}${words === '' ? '' : `; its last output: ${words}`}`));
    });
    // A rank that reads nothing, or is gone: its end tells.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

/** Rank 0's output; of other nodes nothing, since one result is what a call has. */
async function resultOf(program: Program, call: Call, output: Buffer | undefined): Promise<CallResult> {
  if (output === undefined) return { type: 'bytes', value: { at: 'inline', bytes: new Uint8Array() } };
  if (program.result === 'json') {
    try {
      JSON.parse(output.toString('utf8'));
    } catch (cause) {
      throw new FarfieldError('E_FUNCTION', 'rank 0 printed no JSON; a manifest may say `"result": "bytes"`', {
        cause,
      });
    }
  }
  if (output.length <= call.item.maxInlineBytes)
    return { type: program.result, value: { at: 'inline', bytes: output } };
  const path = join(call.item.outDir, 'result');
  await writeFile(path, output);
  return { type: program.result, value: { at: 'file', path, size: output.length } };
}
