/**
 * The cleaning of text that came from elsewhere. No imports: a pilot and a terminal tool load it without a logger.
 *
 * What must be true: no escape sequence, control or trick of direction of somebody else's text reaches a terminal.
 */

// biome-ignore-start lint/suspicious/noControlCharactersInRegex: finding them is the purpose
// Escape sequences first: CSI; OSC, DCS, SOS, PM, APC up to their terminator (or the end: an unfinished one
// would swallow what follows it on a terminal); then the two-byte ones. 8-bit forms are C1 controls and
// introduce the same sequences.
const CSI = /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]?/g;
const STRINGS = /(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[\s\S]*?(?:\u0007|\u001b\\|\u009c|$)/g;
const TWO_BYTE = /\u001b[ -/]*[0-~]?/g;
// C0 but for tab and line feed, DEL, C1, marks and overrides of direction, separators of lines, and what has no
// width at all.
const CONTROLS =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]/g;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: as above

/**
 * Text from elsewhere, safe for a terminal: no escape sequences, controls, or tricks of direction. Tabs and
 * line feeds stay.
 */
export function plain(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(STRINGS, '').replace(CSI, '').replace(TWO_BYTE, '').replace(CONTROLS, '');
}

/** The same on one line of at most `max` characters, for tables and messages. */
export function plainLine(text: string, max = 200): string {
  const line = plain(text).replace(/\s+/g, ' ').trim();
  return line.length <= max ? line : `${line.slice(0, max - 1)}…`;
}
