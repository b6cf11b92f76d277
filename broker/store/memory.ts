/**
 * The broker's store in memory, for simulations: commits happen when the simulator says so, and a crash loses what was not
 * committed. The same rules run over maps instead of tables; test/broker/store/conformance.ts runs over both.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { type MemoryRows, memoryRows } from './memory/rows.ts';
import { answer, type CommandMessage, handle, type QuestionMessage } from './rules/handle.ts';
import type { BrokerStore, Commands, Reads } from './store.ts';

export interface MemoryStoreOptions {
  readonly generation?: string;
  /** When the queued commands are committed; by default at the end of the turn. */
  readonly schedule?: (commit: () => void) => void;
  /** The disk is full: commands that would store something are refused. */
  readonly full?: () => boolean;
}

/** What survives a crash. */
export interface MemoryDisk {
  open(options?: MemoryStoreOptions): BrokerStore & { crash(): void };
}

/** Commands that give room back, or only change what is there. */
const NEED_NO_ROOM: ReadonlySet<string> = new Set([
  'admitted',
  'deliver',
  'cancelAcked',
  'expire',
  'purge',
  'status',
  'begin',
]);

interface Waiting {
  readonly message: CommandMessage;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

export function createMemoryDisk(generation = '00000000'): MemoryDisk {
  const rows = memoryRows(generation);
  return { open: (options = {}) => openOver(rows, options) };
}

export function createMemoryStore(options: MemoryStoreOptions = {}): BrokerStore & { crash(): void } {
  return createMemoryDisk(options.generation).open(options);
}

function openOver(rows: MemoryRows, options: MemoryStoreOptions): BrokerStore & { crash(): void } {
  const { schedule = queueMicrotask, full = () => false } = options;
  const { promise: ended, resolve: end } = Promise.withResolvers<unknown>();
  let queue: Waiting[] = [];
  let over = false;
  const closed = (): FarfieldError => new FarfieldError('E_UNAVAILABLE', 'the store is closed');

  function run({ message, resolve, reject }: Waiting): void {
    if (full() && !NEED_NO_ROOM.has(message.kind)) {
      reject(
        new FarfieldError(
          'E_DISK_FULL',
          'the store cannot grow: its disk, or its page limit, is full. Free room, then try again',
        ),
      );
      return;
    }
    try {
      resolve(structuredClone(rows.atomically(() => handle(rows, message))) as never);
    } catch (error) {
      reject(error);
    }
  }
  function commit(): void {
    const group = queue;
    queue = [];
    if (!over) for (const waiting of group) run(waiting);
  }
  const close = async (): Promise<void> => {
    commit();
    over = true;
    end(undefined);
  };
  return {
    ended,
    close,
    [Symbol.asyncDispose]: close,
    apply<K extends keyof Commands>(kind: K, command: Commands[K]['in']): Promise<Commands[K]['out']> {
      return new Promise((resolve, reject) => {
        if (over) return reject(closed());
        // Copied: what crosses a thread in the real one must not be shared here.
        const message = { kind, command: structuredClone(command) } as CommandMessage;
        queue.push({ message, resolve: resolve as (value: never) => void, reject });
        if (queue.length === 1) schedule(commit);
      });
    },
    read<K extends keyof Reads>(kind: K, question: Reads[K]['in']): Promise<Reads[K]['out']> {
      if (over) return Promise.reject(closed());
      return Promise.resolve(structuredClone(answer(rows, { kind, question } as QuestionMessage)) as Reads[K]['out']);
    },
    /** Power lost: queued commands never happened, and their promises never settle. */
    crash() {
      over = true;
      queue = [];
      end(closed());
    },
  };
}
