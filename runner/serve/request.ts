/**
 * An inference request: its JSON, its binary tensors, and what is asked back. Every mistake is told with what is needed.
 *
 * Invariants
 *  Q1 Nothing of the request is trusted: sizes, shapes and names are held against the bytes that came and the model's own.
 *  Q2 What would change the meaning of an answer and is not served (class lists, shared memory, sequences) is refused; other
 *     unknown parameters are ignored, as the protocol asks.
 */
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { STORED } from '../dtype.ts';
import { MAX_JSON_BYTES, MAX_WORD } from './limits.ts';
import type { ServedModel } from './served.ts';
import { datatypeFacts, fromBinary, fromJson, type StoredValues } from './tensors.ts';

/** One output that is asked for. */
export interface WantedOutput {
  readonly name: string;
  readonly binary: boolean;
}

export interface InferRequest extends StoredValues {
  readonly id: string | undefined;
  readonly rows: number;
  readonly outputs: readonly WantedOutput[];
}

type Json = Readonly<Record<string, unknown>>;

const REFUSED_PARAMETERS = [
  'shared_memory_region',
  'shared_memory_offset',
  'shared_memory_byte_size',
  'classification',
  'sequence_id',
  'sequence_start',
  'sequence_end',
];

function refuse(problem: string): never {
  throw new FarfieldError('E_INPUT', problem);
}

/** Reads a body whose `Inference-Header-Content-Length` was `headerLength` (absent: the whole body is JSON; 0: one raw input). */
export function parseInfer(served: ServedModel, body: Uint8Array, headerLength: number | undefined): InferRequest {
  if (headerLength === 0) return rawInput(served, body);
  const jsonBytes = headerLength ?? body.byteLength;
  if (jsonBytes > body.byteLength)
    refuse(`Inference-Header-Content-Length is ${jsonBytes}, the body has ${body.byteLength} bytes`);
  if (jsonBytes > MAX_JSON_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `the JSON has ${jsonBytes} bytes; at most ${MAX_JSON_BYTES} are read. Send tensors in binary (binary_data_size)`,
    );
  }
  const request = parseObject(body.subarray(0, jsonBytes));
  const parameters = parametersOf(request, 'the request');
  const { id } = request;
  if (id !== undefined && (typeof id !== 'string' || id.length > MAX_WORD))
    refuse(`id must be a text of at most ${MAX_WORD} characters`);
  const outputs = wantedOutputs(served, request.outputs, parameters.binary_data_output === true);
  const { inputs } = request;
  const [input] = Array.isArray(inputs) ? inputs : [];
  if (!Array.isArray(inputs) || inputs.length !== 1 || !isObject(input))
    return refuse(`inputs must hold one tensor; ${served.needs}`);
  return { id: id as string | undefined, outputs, ...readInput(served, input, body.subarray(jsonBytes)) };
}

/** The extension's short form: nothing but the values, in the model's own datatype; everything comes back in binary. */
function rawInput(served: ServedModel, body: Uint8Array): InferRequest {
  const rowBytes = served.sampleSize * STORED.f4.bytes;
  if (!served.accepts.includes('FP32'))
    refuse(`a raw body is read as FP32, which this model does not take; ${served.needs}`);
  if (body.byteLength === 0 || body.byteLength % rowBytes !== 0) {
    refuse(
      `a raw body of ${body.byteLength} bytes is no whole number of rows of ${rowBytes} bytes (FP32); ${served.needs}`,
    );
  }
  return {
    id: undefined,
    outputs: served.outputs.map(({ name }) => ({ name, binary: true })),
    rows: body.byteLength / rowBytes,
    ...fromBinary('FP32', body),
  };
}

/** Name, datatype and shape against the model's; then the values, from JSON or from the bytes behind it. */
function readInput(served: ServedModel, input: Json, tail: Uint8Array): StoredValues & { readonly rows: number } {
  const { name, datatype, shape } = input;
  if (name !== served.input.name) refuse(`the model has no input ${quoted(name)}; ${served.needs}`);
  const facts = typeof datatype === 'string' ? datatypeFacts(datatype) : undefined;
  if (facts === undefined || !served.accepts.includes(datatype as string))
    return refuse(`the datatype ${quoted(datatype)} is not taken; ${served.needs}`);
  const rows = rowsOf(served, shape);
  const sizes = shape as readonly number[];
  const size = parametersOf(input, `input ${served.input.name}`).binary_data_size;
  const what = `input ${served.input.name}`;
  if (size === undefined) {
    if (tail.byteLength > 0) refuse(`${tail.byteLength} bytes follow the JSON, but no tensor states binary_data_size`);
    if (datatype === 'FP16') refuse(`${what}: FP16 has no form in JSON; send it in binary (binary_data_size)`);
    return { rows, ...fromJson(datatype as string, input.data, sizes, what) };
  }
  if (input.data !== undefined) refuse(`${what}: data and binary_data_size exclude each other`);
  const needed = rows * served.sampleSize * facts.bytes;
  if (size !== needed || tail.byteLength !== needed) {
    refuse(
      `${what}: ${quoted(datatype)} of shape [${sizes.join(', ')}] has ${needed} bytes; ` +
        `binary_data_size states ${quoted(size)}, ${tail.byteLength} bytes came`,
    );
  }
  return { rows, ...fromBinary(datatype as string, tail) };
}

/** Rows of a shape that fits; axes of length 1 do not count, as in files: [n, 1, 11, 11] and [n, 11, 11] are the same. */
function rowsOf(served: ServedModel, shape: unknown): number {
  const isShape = Array.isArray(shape) && shape.length >= 1 && shape.length <= 8;
  const sizes = isShape ? (shape as unknown[]) : refuse(`shape must be a list of up to 8 sizes; ${served.needs}`);
  if (!sizes.every((n): n is number => Number.isSafeInteger(n) && (n as number) >= 1))
    return refuse(`shape holds what is no size from 1 on; ${served.needs}`);
  const row = sizes.slice(1).filter((n) => n !== 1);
  const wanted = served.input.shape.slice(1).filter((n) => n !== 1);
  if (row.length !== wanted.length || row.some((n, i) => n !== wanted[i]))
    refuse(`the shape [${sizes.join(', ')}] does not fit; ${served.needs}`);
  const rows = sizes[0] as number;
  // Before anything is made of that size (T2): no request can carry more values than this.
  if (rows > served.maxRows) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${rows} rows; a request can carry ${served.maxRows}. Send them in parts, or use \`farfield-runner batch\``,
    );
  }
  return rows;
}

function wantedOutputs(served: ServedModel, outputs: unknown, binary: boolean): WantedOutput[] {
  const names = served.outputs.map(({ name }) => name);
  if (outputs === undefined || (Array.isArray(outputs) && outputs.length === 0))
    return names.map((name) => ({ name, binary }));
  if (!Array.isArray(outputs)) return refuse('outputs must be a list of {"name": ...}');
  if (outputs.length > names.length)
    refuse(`${outputs.length} outputs are asked for; the model has ${names.join(', ')}`);
  const wanted = outputs.map((output: unknown): WantedOutput => {
    if (!isObject(output) || typeof output.name !== 'string' || !names.includes(output.name))
      return refuse(
        `the model has no output ${quoted(isObject(output) ? output.name : output)}; it has ${names.join(', ')}`,
      );
    const { binary_data: own } = parametersOf(output, `output ${output.name}`);
    return { name: output.name, binary: own === undefined ? binary : own === true };
  });
  if (new Set(wanted.map(({ name }) => name)).size < wanted.length) refuse('an output is asked for twice');
  return wanted;
}

/** Q2. */
function parametersOf(of: Json, what: string): Json {
  const { parameters = {} } = of;
  if (!isObject(parameters)) return refuse(`${what}: parameters must be an object`);
  const unserved = REFUSED_PARAMETERS.find((name) => Object.hasOwn(parameters, name));
  if (unserved !== undefined) refuse(`${what}: the parameter ${unserved} is not served here`);
  return parameters;
}

function parseObject(bytes: Uint8Array): Json {
  let value: unknown;
  try {
    value = JSON.parse(fromUtf8(bytes));
  } catch (reason) {
    throw new FarfieldError('E_INPUT', 'the request is not JSON in UTF-8', { cause: reason });
  }
  return isObject(value) ? value : refuse('the request must be a JSON object with inputs');
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A caller's own value, short, for the message that goes back to it. */
function quoted(value: unknown): string {
  if (value === undefined) return 'undefined';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? '[...]' : '{...}';
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 64) : value);
}
