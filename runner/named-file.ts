/** `FILE[:/dataset]`, as people write it on a command line. */
import type { CallArg } from './adapters/adapter.ts';

/** `x.h5:/patches`, `x.npy`: the argument that a call would have brought. */
export function namedFile(name: string, text: string): CallArg & { readonly path: string } {
  // Not at 0: a name may begin with a colon; a path with `:/` inside it needs its data set named too.
  const cut = text.indexOf(':/', 1);
  const path = cut < 0 ? text : text.slice(0, cut);
  const type = path.endsWith('.npy') ? 'npy' : 'hdf5';
  const arg = { name, type, at: 'file', path, size: 0, ...(cut < 0 ? {} : { sel: text.slice(cut + 1) }) } as const;
  return { arg, bytes: undefined, path };
}
