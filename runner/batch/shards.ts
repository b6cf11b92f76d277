/** Which rows a shard has, and what its files are called. */
import { FarfieldError } from '#kernel/errors.ts';

/** Rows [from, to) of an input of `of` rows. */
export interface ShardRows {
  readonly from: number;
  readonly to: number;
  readonly of: number;
}

/** What the command line names: one of so many, rows by number, or everything. */
export type ShardWish =
  | { readonly kind: 'part'; readonly index: number; readonly count: number }
  | { readonly kind: 'rows'; readonly from: number; readonly to: number }
  | { readonly kind: 'all' };

/** What a scheduler tells each task of a job array, and the number of its first task. */
const ARRAY_INDEXES = [
  ['SLURM_ARRAY_TASK_ID', 0],
  ['PBS_ARRAY_INDEX', 0],
  // These count from 1 where nobody says otherwise; `undefined` and 0 stand for jobs that are no array.
  ['SGE_TASK_ID', 1],
  ['LSB_JOBINDEX', 1],
] as const;

/** `I/N` (I from 0), `auto/N` by the array index of the scheduler, `auto` where the scheduler also tells how many there are. */
export function parseShard(text: string, env: Readonly<Record<string, string | undefined>>): ShardWish {
  if (text === 'auto') return wholeArray(env);
  const match = /^(auto|\d{1,9})\/(\d{1,9})$/.exec(text);
  const count = Number(match?.[2]);
  if (match === null || count < 1)
    throw new FarfieldError('E_USAGE', `--shard ${text}: say I/N with I from 0, or auto/N in a job array`);
  const index = match[1] === 'auto' ? arrayIndex(env) : Number(match[1]);
  if (index >= count)
    throw new FarfieldError(
      'E_USAGE',
      `--shard ${text}: shard ${index} of ${count}; they count from 0 to ${count - 1}`,
    );
  return { kind: 'part', index, count };
}

/** Slurm alone tells the whole array. One that was submitted in part (`--array=7,13`) would cut the rows otherwise: refused. */
function wholeArray(env: Readonly<Record<string, string | undefined>>): ShardWish {
  const [id, first, last, count] = ['ID', 'MIN', 'MAX', 'COUNT'].map((key) =>
    Number(env[`SLURM_ARRAY_TASK_${key}`]),
  ) as [number, number, number, number];
  const whole = (first === 0 || first === 1) && last - first + 1 === count && id >= first && id <= last;
  if (whole) return { kind: 'part', index: id - first, count };
  throw new FarfieldError(
    'E_USAGE',
    `--shard auto: ${env.SLURM_ARRAY_TASK_ID === undefined ? 'only Slurm tells how many tasks an array has' : 'this array is not 0-K or 1-K'}; say auto/N`,
  );
}

function arrayIndex(env: Readonly<Record<string, string | undefined>>): number {
  for (const [name, first] of ARRAY_INDEXES) {
    const text = env[name];
    if (text === undefined || !/^\d{1,9}$/.test(text) || Number(text) < first) continue;
    return Number(text) - first;
  }
  const names = ARRAY_INDEXES.map(([name]) => name).join(', ');
  throw new FarfieldError('E_USAGE', `--shard auto: this is no task of a job array (none of ${names} is set)`);
}

/** `A:B`, from row A up to and without row B. */
export function parseRows(text: string): ShardWish {
  const match = /^(\d{1,12}):(\d{1,12})$/.exec(text);
  const [from, to] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || from >= to)
    throw new FarfieldError('E_USAGE', `--rows ${text}: say A:B, from row A up to and without row B`);
  return { kind: 'rows', from, to };
}

/**
 * The rows of a shard. Parts differ by one row at most; where chunks are small against a part, parts begin with a chunk, so
 * that no chunk is inflated by two runners.
 */
export function shardRows(wish: ShardWish, of: number, chunkRows: number): ShardRows {
  if (wish.kind === 'all') return { from: 0, to: of, of };
  if (wish.kind === 'rows') {
    if (wish.to > of)
      throw new FarfieldError('E_INPUT', `rows ${wish.from}:${wish.to} are asked for; the input has ${of}`);
    return { from: wish.from, to: wish.to, of };
  }
  const { index, count } = wish;
  if (count > of) throw new FarfieldError('E_INPUT', `${count} shards are asked for; the input has ${of} rows`);
  const unit = of / count >= 4 * chunkRows ? chunkRows : 1;
  const edge = (k: number): number => (k === count ? of : Math.floor((k * of) / count / unit) * unit);
  return { from: edge(index), to: edge(index + 1), of };
}

/** Base name of a shard's files; sorts by row. */
export function shardName({ from, to }: Pick<ShardRows, 'from' | 'to'>): string {
  const digits = (n: number): string => String(n).padStart(10, '0');
  return `rows-${digits(from)}-${digits(to)}`;
}

/** Of a sidecar in an output folder; undefined for any other file. */
export function isSidecarName(file: string): boolean {
  return /^rows-\d{10,}-\d{10,}\.json$/.test(file);
}
