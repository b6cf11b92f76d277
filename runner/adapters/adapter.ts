/**
 * What an adapter is: five verbs. Batching, padding, pre- and post-processing, HDF5, uncertainty and metrics live outside it,
 * once, for all adapters.
 *
 * Two kinds, told apart by what `infer` takes:
 *  - a *tensor adapter* computes a model's output for a batch of prepared samples; it runs in a lane (a worker thread) and
 *    knows nothing of items, files or people;
 *  - a *call adapter* answers whole items (functions). A model is served as one too, by the code that feeds tensor adapters.
 */
import type { FarfieldError } from '#kernel/errors.ts';
import type { RunnerArg, RunnerItem } from '#protos/runner.ts';

export interface VariantProbe {
  readonly variant: string;
  readonly runs: boolean;
  /** Why not, in words. */
  readonly reason?: string;
}

export interface Probe {
  readonly adapter: string;
  readonly devices: readonly string[];
  readonly versions: Readonly<Record<string, string>>;
}

export interface TensorLoad {
  /** The model file's verified bytes, or its path where it has external data beside it. */
  readonly model: Uint8Array | string;
  readonly threads: number;
}

/** What the loaded file says of itself; -1 stands for a free axis. */
export interface TensorFacts {
  readonly inputs: readonly { readonly name: string; readonly type: string; readonly shape: readonly number[] }[];
  readonly outputs: readonly { readonly name: string; readonly type: string; readonly shape: readonly number[] }[];
}

export interface TensorAdapter {
  probe(): Promise<Probe>;
  load(request: TensorLoad): Promise<TensorFacts>;
  /** `data` holds a whole batch of shape `shape`; answers the named output, row-major. */
  infer(input: string, data: Float32Array, shape: readonly number[], output: string): Promise<Float32Array>;
  stats(): Record<string, number>;
  close(): Promise<void>;
}

/** An argument with its bytes, where these came inline. */
export interface CallArg {
  readonly arg: RunnerArg;
  readonly bytes: Uint8Array | undefined;
}

/** One item while it runs. */
export interface Call {
  readonly item: RunnerItem;
  readonly args: readonly CallArg[];
  /** Set by a cancel; whoever waits for long sets `onCancel`. */
  cancelled: boolean;
  onCancel: (() => void) | undefined;
  progress(done: number, total: number, perSecond: number): void;
}

export interface CallResult {
  readonly type: string;
  readonly value:
    | { readonly at: 'inline'; readonly bytes: Uint8Array }
    | { readonly at: 'file'; readonly path: string; readonly size: number };
  readonly rep?: Readonly<Record<string, unknown>>;
}

export interface CallLoad {
  readonly modelRoot: string | undefined;
  readonly variant: string | undefined;
  readonly entry: Readonly<Record<string, unknown>>;
  readonly threads: number;
  readonly scratchDir: string;
}

export interface CallAdapter {
  probe(): Promise<Probe>;
  /** Versions for `ready`. Throws a FarfieldError where it cannot serve. */
  load(request: CallLoad): Promise<Record<string, string>>;
  /** Throws a FarfieldError where the item fails; E_CANCELLED where it was cancelled. */
  infer(call: Call): CallResult | Promise<CallResult>;
  /** Why no further call can succeed (its threads died), if that is so: the runner then ends, and a new one is started. */
  broken?(): FarfieldError | undefined;
  stats(): Record<string, number>;
  close(): Promise<void>;
}
