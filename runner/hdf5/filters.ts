/**
 * HDF5 filters by their registered number: what each is called, who undoes it here, and what its own heads say.
 *
 * Checked before anything is read: a filter that cannot be undone is an error with a name and a remedy, and no plug-in
 * is looked for anywhere but in the folder of h5wasm-plugins.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';

interface FilterFacts {
  readonly name: string;
  /** File in the plug-in folder. */
  readonly plugin?: string;
}

const FILTERS: ReadonlyMap<number, FilterFacts> = new Map<number, FilterFacts>([
  [1, { name: 'deflate (gzip)' }],
  [2, { name: 'shuffle' }],
  [3, { name: 'fletcher32' }],
  [5, { name: 'nbit' }],
  [6, { name: 'scaleoffset' }],
  [32000, { name: 'lzf', plugin: 'libH5Zlzf.so' }],
  [32001, { name: 'blosc', plugin: 'libH5Zblosc.so' }],
  [32004, { name: 'lz4', plugin: 'libH5Zlz4.so' }],
  [32008, { name: 'bitshuffle', plugin: 'libH5Zbshuf.so' }],
  [32015, { name: 'zstd', plugin: 'libH5Zzstd.so' }],
]);

/**
 * Names of filters that are met and not read, where the file does not bring one. There is a plug-in for some: bzip2's
 * never ends on a stream that was cut off, zfp's and blosc2's want half of HDF5 and a file system.
 */
const OTHERS: ReadonlyMap<number, string> = new Map([
  [4, 'szip'],
  [307, 'bzip2'],
  [32013, 'zfp'],
  [32017, 'sz'],
  [32019, 'jpeg'],
  [32024, 'sz3'],
  [32026, 'blosc2'],
]);

const REMEDY = 'rewrite the data set with gzip (h5repack -f GZIP=4 IN OUT), or without compression';

/** Why the filter cannot be used here and what to do, or undefined if it can. */
export function filterProblem(id: number, nameInFile: string, plugins: string | undefined): string | undefined {
  const facts = FILTERS.get(id);
  if (facts === undefined) {
    const name = OTHERS.get(id) ?? nameInFile.replace(/[^\x20-\x7e]/g, '?').slice(0, 60);
    return `filter ${id}${name === '' ? '' : ` (${name})`} is not read here; ${REMEDY}`;
  }
  if (facts.plugin === undefined || pluginPath(id, plugins) !== undefined) return undefined;
  return `filter ${id} (${facts.name}) needs the package h5wasm-plugins, which is not installed here; ${REMEDY}`;
}

export function filterName(id: number): string {
  return FILTERS.get(id)?.name ?? OTHERS.get(id) ?? `filter ${id}`;
}

/** The plug-in that undoes this filter, or undefined where none is needed or there. */
export function pluginPath(id: number, plugins: string | undefined): string | undefined {
  const file = FILTERS.get(id)?.plugin;
  if (file === undefined || plugins === undefined) return undefined;
  const path = join(plugins, file);
  return existsSync(path) ? path : undefined;
}

/** Names of the filters that can be read here. */
export function readableFilters(plugins: string | undefined): string[] {
  return [...FILTERS].filter(([id]) => filterProblem(id, '', plugins) === undefined).map(([, facts]) => facts.name);
}
