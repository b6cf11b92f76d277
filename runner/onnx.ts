/**
 * Looks into an ONNX file before ONNX Runtime does: is it one, does it name files beside it, does it want operators that no
 * runtime has built in.
 *
 * A small reader of the protobuf wire format: it walks the few messages that matter and skips tensors by their length, so a
 * 100 MB model costs microseconds. It never allocates by a length that the file states.
 *
 * Invariants
 *  O1 Whatever it cannot follow to the last byte is not an ONNX file.
 *  O2 Every tensor of every graph (subgraphs of If, Loop, Scan; functions; sparse tensors) is looked at.
 */

/** What was found in a model file. */
export interface OnnxFacts {
  readonly irVersion: number;
  readonly producer: string;
  /** `location` of every tensor that is kept outside the file. */
  readonly external: readonly string[];
  /** Operator domains in use, but for those of functions that the file defines itself. */
  readonly domains: readonly string[];
}

/** One field of a message, as it lies in the bytes. */
interface Field {
  readonly number: number;
  readonly wire: number;
  /** Start and end of the payload (wire type 2). */
  readonly start: number;
  readonly end: number;
  readonly value: number;
}

/** Thrown and caught in this file alone: recursion is easier to leave that way. */
class NotOnnx extends Error {}

/** Facts, or why the bytes are no ONNX model. */
export function inspectOnnx(bytes: Uint8Array): OnnxFacts | string {
  try {
    return readModel(bytes);
  } catch (reason) {
    if (reason instanceof NotOnnx) return reason.message;
    throw reason;
  }
}

interface Found {
  readonly external: Set<string>;
  readonly domains: Set<string>;
}

// Field numbers of onnx.proto (ONNX IR specification).
const MODEL = { irVersion: 1, producer: 2, graph: 7, opset: 8, functions: 25 } as const;
const GRAPH = { node: 1, initializer: 5, sparse: 15 } as const;
const FUNCTION = { node: 7, domain: 10 } as const;
const NODE = { domain: 7, attribute: 5 } as const;
const ATTRIBUTE = { tensor: 5, graph: 6, tensors: 10, graphs: 11, sparse: 22, sparses: 23 } as const;
const SPARSE = { values: 1, indices: 2 } as const;
const TENSOR = { external: 13, location: 14 } as const;
const ENTRY = { key: 1, value: 2 } as const;
const MAX_DEPTH = 32;

/** The outermost message. A file with no graph or no operator set is not a model, even if it parses. */
function readModel(b: Uint8Array): OnnxFacts {
  const found: Found = { external: new Set(), domains: new Set() };
  const own = new Set<string>();
  let irVersion = 0;
  let producer = '';
  let graphs = 0;
  let opsets = 0;
  for (const f of fields(b, 0, b.length)) {
    if (f.number === MODEL.irVersion && f.wire === 0) irVersion = f.value;
    else if (f.number === MODEL.producer) producer = text(b, f);
    else if (f.number === MODEL.opset) opsets++;
    else if (f.number === MODEL.graph) {
      graphs++;
      readGraph(b, message(f), found, 0);
    } else if (f.number === MODEL.functions) readFunction(b, message(f), found, own);
  }
  if (irVersion < 1 || graphs !== 1 || opsets < 1) throw new NotOnnx('it has no graph, IR version or operator set');
  return { irVersion, producer, external: [...found.external], domains: [...found.domains].filter((d) => !own.has(d)) };
}

/** A function that the file defines itself: its domain is its own, its nodes are looked at like any. */
function readFunction(b: Uint8Array, f: Field, found: Found, own: Set<string>): void {
  for (const part of fields(b, f.start, f.end)) {
    if (part.number === FUNCTION.domain) own.add(text(b, part));
    else if (part.number === FUNCTION.node) readNode(b, message(part), found, 0);
  }
}

/** Nodes and weights of a graph; subgraphs come through the attributes of nodes. */
function readGraph(b: Uint8Array, f: Field, found: Found, depth: number): void {
  if (depth > MAX_DEPTH) throw new NotOnnx('its graphs are nested too deeply');
  for (const part of fields(b, f.start, f.end)) {
    if (part.number === GRAPH.node) readNode(b, message(part), found, depth);
    else if (part.number === GRAPH.initializer) readTensor(b, message(part), found);
    else if (part.number === GRAPH.sparse) readSparse(b, message(part), found);
  }
}

function readNode(b: Uint8Array, f: Field, found: Found, depth: number): void {
  let domain = '';
  for (const part of fields(b, f.start, f.end)) {
    if (part.number === NODE.domain) domain = text(b, part);
    else if (part.number === NODE.attribute) readAttribute(b, message(part), found, depth);
  }
  found.domains.add(domain);
}

function readAttribute(b: Uint8Array, f: Field, found: Found, depth: number): void {
  for (const part of fields(b, f.start, f.end)) {
    switch (part.number) {
      case ATTRIBUTE.tensor:
      case ATTRIBUTE.tensors:
        readTensor(b, message(part), found);
        break;
      case ATTRIBUTE.graph:
      case ATTRIBUTE.graphs:
        readGraph(b, message(part), found, depth + 1);
        break;
      case ATTRIBUTE.sparse:
      case ATTRIBUTE.sparses:
        readSparse(b, message(part), found);
        break;
    }
  }
}

function readSparse(b: Uint8Array, f: Field, found: Found): void {
  for (const part of fields(b, f.start, f.end)) {
    if (part.number === SPARSE.values || part.number === SPARSE.indices) readTensor(b, message(part), found);
  }
}

/** A tensor with external entries counts as external even where `data_location` does not say so. */
function readTensor(b: Uint8Array, f: Field, found: Found): void {
  let external = false;
  let location: string | undefined;
  for (const part of fields(b, f.start, f.end)) {
    if (part.number === TENSOR.location && part.wire === 0) external ||= part.value === 1;
    else if (part.number === TENSOR.external) {
      external = true;
      const { key, value } = readEntry(b, message(part));
      if (key === 'location') location = value;
    }
  }
  if (external) found.external.add(location ?? '');
}

function readEntry(b: Uint8Array, f: Field): { key: string; value: string } {
  let key = '';
  let value = '';
  for (const part of fields(b, f.start, f.end)) {
    if (part.number === ENTRY.key) key = text(b, part);
    else if (part.number === ENTRY.value) value = text(b, part);
  }
  return { key, value };
}

/** The fields between two offsets. Groups (wire types 3 and 4) are not part of ONNX. */
function* fields(b: Uint8Array, start: number, end: number): Generator<Field> {
  let at = start;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw new NotOnnx('it ends in the middle of a field');
      const byte = b[at++] as number;
      // Beyond 2^53 digits are lost; such numbers are values (int64 attributes), never lengths or field numbers.
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new NotOnnx('a number in it is too long');
  };
  while (at < end) {
    const key = varint();
    const number = Math.floor(key / 8);
    const wire = key % 8;
    if (number < 1 || number > 1000) throw new NotOnnx('it is not a protobuf of the ONNX schema');
    let value = 0;
    let from = at;
    if (wire === 0) value = varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      from = at;
      at += length;
    } else throw new NotOnnx('it is not a protobuf of the ONNX schema');
    if (at > end) throw new NotOnnx('it ends in the middle of a field');
    yield { number, wire, start: from, end: at, value };
  }
}

/** The field as an embedded message or text; any other wire type here is not ONNX. */
function message(f: Field): Field {
  if (f.wire !== 2) throw new NotOnnx('it is not a protobuf of the ONNX schema');
  return f;
}

/** Text of a field, cut: names that long mean nothing to anybody. */
function text(b: Uint8Array, f: Field): string {
  message(f);
  return Buffer.from(b.buffer, b.byteOffset + f.start, Math.min(f.end - f.start, 4096)).toString('utf8');
}
