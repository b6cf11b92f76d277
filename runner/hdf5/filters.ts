/**
 * HDF5 filters by their registered number: which are built in, which come as plug-in files.
 *
 * Checked before reading: a missing filter is then an error with a name and a remedy, and no plug-in is looked for elsewhere.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

interface FilterFacts {
  readonly name: string;
  /** File in the plug-in folder; absent where the library has the filter built in. */
  readonly plugin?: string;
}

const FILTERS: ReadonlyMap<number, FilterFacts> = new Map([
  [1, { name: 'deflate (gzip)' }],
  [2, { name: 'shuffle' }],
  [3, { name: 'fletcher32' }],
  [4, { name: 'szip' }],
  [5, { name: 'nbit' }],
  [6, { name: 'scaleoffset' }],
  [307, { name: 'bzip2', plugin: 'libH5Zbz2.so' }],
  [32000, { name: 'lzf', plugin: 'libH5Zlzf.so' }],
  [32001, { name: 'blosc', plugin: 'libH5Zblosc.so' }],
  [32004, { name: 'lz4', plugin: 'libH5Zlz4.so' }],
  [32008, { name: 'bitshuffle', plugin: 'libH5Zbshuf.so' }],
  [32013, { name: 'zfp', plugin: 'libH5Zzfp.so' }],
  [32015, { name: 'zstd', plugin: 'libH5Zzstd.so' }],
  [32026, { name: 'blosc2', plugin: 'libH5Zblosc2.so' }],
]);

/** Why the filter cannot be used here, or undefined if it can. */
export function filterProblem(id: number, nameInFile: string, plugins: string | undefined): string | undefined {
  const facts = FILTERS.get(id);
  if (facts === undefined) {
    const printable = nameInFile.replace(/[^\x20-\x7e]/g, '?').slice(0, 60);
    return `filter ${id}${printable === '' ? '' : ` ("${printable}")`} is not known here`;
  }
  if (facts.plugin === undefined) return undefined;
  if (plugins !== undefined && existsSync(join(plugins, facts.plugin))) return undefined;
  return `filter ${id} (${facts.name}) needs the package h5wasm-plugins, which is not installed here`;
}

/** Names of the filters that can be read here. */
export function readableFilters(plugins: string | undefined): string[] {
  return [...FILTERS].filter(([id]) => filterProblem(id, '', plugins) === undefined).map(([, facts]) => facts.name);
}
