/** Exit codes of `farfield-runner`; `describe` prints them. */
export const EXIT = {
  ok: 0,
  /** A defect: the stack is on stderr. */
  defect: 1,
  usage: 2,
  /** The other side of the pipe broke the protocol. */
  protocol: 3,
  /** The model or function cannot be served; the `failed` frame, or the JSON on stdout, says why. */
  load: 4,
  /** The pilot went away while it was written to. */
  pipe: 5,
} as const;

export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'done',
  defect: 'a defect in the runner',
  usage: 'a command or option that does not exist or does not fit',
  protocol: 'a frame that the protocol does not allow',
  load: 'a model or function that cannot be served here',
  pipe: 'the reader of the pipe went away',
};
