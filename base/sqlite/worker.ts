/**
 * The threads of a store. `writer` owns the only writing connection; `reader`, started when first needed,
 * answers queries on a connection of its own and moves the log into the main file, so that neither waits in the
 * writer's way.
 *
 * The writer has no event loop of its own: it sleeps in Atomics.wait and drains its port. Measured for one
 * message there and back, idle between (p50 us): port events on both sides 31; Atomics.wait here and port
 * events there 17; Atomics.waitAsync there as well 16, for more code. Spinning before the sleep would win some
 * us more and take one of two cores.
 */
import { DatabaseSync } from 'node:sqlite';
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { giveMemoryBack } from '#base/memory.ts';
import { type EngineOptions, type Failure, failureOf, isFatal, openEngine } from './engine.ts';
import type { CommandModule } from './module.ts';
import { pack } from './pack.ts';

/** A writer that had nothing to do for so long gives its memory back, once. */
const IDLE_MS = 20_000;

export interface WorkerData {
  readonly role: 'writer' | 'reader';
  readonly module: string;
  readonly engine: EngineOptions;
  /** One counter that rises with each message to the writer; it sleeps on it. */
  readonly bell: SharedArrayBuffer;
  readonly maxGroup: number;
  readonly walSettlePages: number;
}

/** To the writer: commands in order, or the wish to end. */
export type ToWriter = { readonly commands: readonly unknown[] } | { readonly end: true };

/** From the writer: one message for each group, outcomes in the order of submission. */
export interface FromWriter {
  readonly opened?: true;
  readonly refused?: Failure;
  readonly values?: readonly unknown[];
  /** Index in `values` and failure of those that have none. */
  readonly failures?: readonly (readonly [number, Failure])[];
  readonly commits?: number;
  readonly reruns?: number;
  readonly walBehind?: number;
}

export type ToReader =
  | { readonly id: number; readonly query: unknown }
  | { readonly checkpoint: true }
  | { readonly end: true };
export interface FromReader {
  readonly opened?: true;
  readonly refused?: Failure;
  readonly id?: number;
  readonly answer?: unknown;
  readonly failure?: Failure;
  readonly checkpointed?: true;
  /** The disk failed under the main file: the store as a whole must end. */
  readonly fatal?: Failure;
}

function post(port: MessagePort, message: FromWriter | FromReader): void {
  const packed = pack(message);
  port.postMessage(packed.value, packed.transfer);
}

/**
 * Everything that waits, up to the bound of one group: whatever came while the last commit waited for the disk
 * is the next group.
 */
function takeGroup(port: MessagePort, maxGroup: number): { commands: unknown[]; end: boolean } {
  const commands: unknown[] = [];
  while (commands.length < maxGroup) {
    const received = receiveMessageOnPort(port) as { message: ToWriter } | undefined;
    if (received === undefined) return { commands, end: false };
    if ('end' in received.message) return { commands, end: true };
    for (const command of received.message.commands) commands.push(command);
  }
  return { commands, end: false };
}

async function runWriter(port: MessagePort, data: WorkerData): Promise<void> {
  const module = (await import(data.module)) as CommandModule;
  const engine = openEngine(module, data.engine);
  post(port, { opened: true });
  const bell = new Int32Array(data.bell);
  let walBehind = 0;
  for (;;) {
    const heard = Atomics.load(bell, 0);
    const { commands, end } = takeGroup(port, data.maxGroup);
    if (commands.length > 0) {
      const values: unknown[] = [];
      const failures: [number, Failure][] = [];
      for (const [index, outcome] of engine.run(commands).entries()) {
        values.push(outcome.ok ? outcome.value : undefined);
        if (!outcome.ok) failures.push([index, outcome.failure]);
      }
      post(port, { values, failures, commits: engine.commits(), reruns: engine.reruns(), walBehind });
      // After the answer, so that nobody waits for it unless the next command is here already; the count goes
      // out with the next one.
      const wal = engine.wal();
      walBehind = wal.behind;
      if (wal.pages >= data.walSettlePages) engine.checkpoint();
    } else if (!end) {
      if (Atomics.wait(bell, 0, heard, IDLE_MS) === 'timed-out') {
        giveMemoryBack();
        Atomics.wait(bell, 0, heard);
      }
    }
    if (end) break;
  }
  engine.close();
}

async function runReader(port: MessagePort, data: WorkerData): Promise<void> {
  const module = (await import(data.module)) as CommandModule;
  const db = new DatabaseSync(data.engine.file, { timeout: 5000 });
  db.exec(`pragma synchronous = ${data.engine.synchronous}; pragma wal_autocheckpoint = 0; pragma temp_store = memory`);
  const answer = module.openReads?.(db);
  const begin = db.prepare('begin');
  const commit = db.prepare('commit');
  const passive = db.prepare('pragma wal_checkpoint(passive)');
  const ask = (query: unknown): unknown => {
    if (answer === undefined) throw new Error(`${data.module} exports no openReads`);
    // One transaction for each query: all its statements see the same state.
    begin.run();
    try {
      return answer(query);
    } finally {
      commit.run();
    }
  };
  const checkpoint = (): void => {
    try {
      passive.get();
      post(port, { checkpointed: true });
    } catch (error) {
      // On a full disk the log stays as it is until the next attempt; queries go on.
      post(port, isFatal(error) ? { fatal: failureOf(error) } : { checkpointed: true });
    }
  };
  port.on('message', (message: ToReader) => {
    if ('end' in message) {
      db.close();
      port.close();
    } else if ('checkpoint' in message) {
      checkpoint();
    } else {
      try {
        post(port, { id: message.id, answer: ask(message.query) });
      } catch (error) {
        post(port, { id: message.id, failure: failureOf(error) });
      }
    }
  });
  post(port, { opened: true });
}

const port = parentPort;
if (port === null) throw new Error('worker.ts runs in a worker thread');
const data = workerData as WorkerData;
try {
  await (data.role === 'writer' ? runWriter(port, data) : runReader(port, data));
} catch (error) {
  post(port, { refused: failureOf(error) });
}
