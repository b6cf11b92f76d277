/** The part of the WebAssembly interface that is used here: Node's type declarations leave it out, and the browser's bring a document along. */

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

export interface WasmTable {
  get(index: number): unknown;
  set(index: number, value: unknown): void;
  grow(by: number): number;
}

export interface WasmGlobal {
  value: number;
}

/** Compiled, not yet instantiated. */
export type WasmModule = Readonly<Record<'__module', never>>;
export type WasmExports = Readonly<Record<string, unknown>>;
export type WasmImports = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

interface Wasm {
  readonly Module: {
    new (bytes: Uint8Array): WasmModule;
    imports(module: WasmModule): readonly { readonly module: string; readonly name: string; readonly kind: string }[];
    exports(module: WasmModule): readonly { readonly name: string }[];
    customSections(module: WasmModule, name: string): readonly ArrayBuffer[];
  };
  readonly Instance: new (module: WasmModule, imports: WasmImports) => { readonly exports: WasmExports };
  readonly Memory: new (wish: { readonly initial: number }) => WasmMemory;
  readonly Table: new (wish: { readonly initial: number; readonly element: 'anyfunc' }) => WasmTable;
  readonly Global: new (wish: { readonly value: 'i32'; readonly mutable: boolean }, value: number) => WasmGlobal;
}

export const wasm: Wasm = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;
