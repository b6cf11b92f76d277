/** A command module with a defect that no handler can catch: an answer that cannot leave its thread. */
export const schema = ['create table t (a any) strict'];

export function open(): (command: string) => unknown {
  return (command) => (command === 'rotten' ? () => 'a function' : command);
}
