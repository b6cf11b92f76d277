/**
 * What `npm run build` puts into dist/: one file for each program and each worker thread.
 *
 * 1. The names are a contract: code that runs from a bundle finds its neighbours by them (`./agent.mjs` beside the CLI),
 *    so every bundle lies flat in one folder.
 * 2. What starts on a node is one file (pilot, worker threads): on a parallel file system each file opened costs a round
 *    trip to a metadata server. Programs that load parts on demand (CLI, agent, runner) are split, so that a verb does not pay for
 *    the code of a server.
 */
export interface Bundle {
  /** The file in dist/, without `.mjs`. */
  readonly name: string;
  readonly source: string;
  /** Whether dynamic imports become files of their own. */
  readonly split: boolean;
}

export const BUNDLES: readonly Bundle[] = [
  { name: 'farfield', source: 'client/cli/main.ts', split: true },
  { name: 'agent', source: 'agent/main.ts', split: true },
  { name: 'broker', source: 'broker/main.ts', split: false },
  { name: 'pilot', source: 'pilot/main.ts', split: false },
  { name: 'runner', source: 'runner/main.ts', split: true },
  { name: 'lane', source: 'runner/lane.ts', split: true },
  { name: 'store-worker', source: 'base/sqlite/worker.ts', split: false },
  { name: 'ledger-module', source: 'agent/admission/ledger-module.ts', split: false },
  { name: 'broker-store', source: 'broker/store/sqlite-module.ts', split: false },
];

/**
 * Packages that stay in node_modules: they carry native code or WebAssembly that they find beside themselves. All are
 * optional; a login node has none of them.
 */
export const EXTERNAL: readonly string[] = [
  'onnxruntime-node',
  'h5wasm',
  'h5wasm-plugins',
  'bufferutil',
  'utf-8-validate',
];
