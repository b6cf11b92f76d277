/** The few protobuf messages of which tests make ONNX files, right and wrong. */

export function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let v = value; ; v = Math.floor(v / 128)) {
    if (v < 128) return Buffer.from([...bytes, v]);
    bytes.push((v % 128) | 128);
  }
}

/** A length-delimited field. */
export function field(number: number, payload: Uint8Array | string): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

export function node(type: string, domain = '', ...more: readonly Uint8Array[]): Buffer {
  return Buffer.concat([
    field(1, 'x'),
    field(2, 'y'),
    field(4, type),
    ...(domain === '' ? [] : [field(7, domain)]),
    ...more,
  ]);
}

/** A tensor whose values lie in another file. */
export function tensor(location: string): Buffer {
  const entry = Buffer.concat([field(1, 'location'), field(2, location)]);
  // dims 1, FLOAT, name, external data, data_location EXTERNAL
  return Buffer.concat([
    varint(8),
    varint(1),
    varint(16),
    varint(1),
    field(8, 'w'),
    field(13, entry),
    varint(14 * 8),
    varint(1),
  ]);
}

/** name, float tensor [n, ...rest]. */
function value(name: string, rest: readonly number[]): Buffer {
  const dim = (n: number): Buffer => field(1, Buffer.concat([varint(8), varint(n)]));
  const shape = Buffer.concat([field(1, field(2, 'n')), ...rest.map(dim)]);
  const type = field(1, Buffer.concat([varint(8), varint(1), field(2, shape)]));
  return Buffer.concat([field(1, name), field(2, type)]);
}

export function model(
  nodes: readonly Uint8Array[],
  tensors: readonly Uint8Array[],
  shape: readonly number[] = [2],
): Buffer {
  const graph = Buffer.concat([
    ...nodes.map((n) => field(1, n)),
    field(2, 'g'),
    ...tensors.map((w) => field(5, w)),
    field(11, value('x', shape)),
    field(12, value('y', shape)),
  ]);
  const opset = Buffer.concat([varint(16), varint(13)]);
  return Buffer.concat([varint(8), varint(7), field(7, graph), field(8, opset)]);
}
