/**
 * Collects all that is garbage in this thread, 5 to 40 ms: V8 by itself leaves an idle process as large as its start or its
 * work made it, and an agent is a guest on a login node (some 10 MB of 116). For moments without work; without
 * `--expose-gc` (SERVER_FLAGS) it does nothing.
 */
export function giveMemoryBack(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
