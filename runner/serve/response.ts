/** Answers of the Open Inference Protocol: JSON, or JSON with the tensors that were asked for in binary behind it. */
import type { RowAnswers } from './batcher.ts';
import type { InferRequest } from './request.ts';
import type { ServedModel, ServedOutput } from './served.ts';

export interface EncodedAnswer {
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: readonly Uint8Array[];
}

export function encodeAnswer(served: ServedModel, request: InferRequest, answers: RowAnswers): EncodedAnswer {
  const tensors: Uint8Array[] = [];
  const outputs = request.outputs.map(({ name, binary }) => {
    const output = served.outputs.find((candidate) => candidate.name === name) as ServedOutput;
    const values = answers[output.from];
    const head = { name, datatype: output.datatype, shape: [request.rows, ...output.shape.slice(1)] };
    if (!binary) return { ...head, data: jsonValues(output, values) };
    // Little-endian, as every machine that this runs on.
    tensors.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return { ...head, parameters: { binary_data_size: values.byteLength } };
  });
  const json = Buffer.from(
    JSON.stringify({ model_name: served.name, model_version: served.version, id: request.id, outputs }),
  );
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.byteLength, json.byteLength);
  const length = { 'content-length': bytes };
  if (tensors.length === 0) return { headers: { 'content-type': 'application/json', ...length }, body: [json] };
  return {
    headers: {
      'content-type': 'application/octet-stream',
      'inference-header-content-length': json.byteLength,
      ...length,
    },
    body: [json, ...tensors],
  };
}

/** Flat. What JSON cannot write becomes null by its own rule: NaN, and a radius that is not known. */
function jsonValues({ datatype }: ServedOutput, values: Float32Array | Uint8Array): (number | boolean)[] {
  return datatype === 'BOOL' ? Array.from(values, (v) => v === 1) : Array.from(values);
}
