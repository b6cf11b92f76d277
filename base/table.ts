/**
 * Rows for people and for spreadsheets: columns under each other, or CSV.
 *
 * Invariants
 *  T1 CSV is RFC 4180: CRLF, quotes doubled. A text that a spreadsheet would compute (=, +, -, @ and the like at its start) begins
 *     with an apostrophe: names of functions and people are strangers' text, and the file is opened by accountants.
 *  T2 Numbers are written as they are, with a point, in any locale.
 */

export type Cell = string | number | undefined;

/** One line with its CRLF. */
export function csvLine(cells: readonly Cell[]): string {
  const cell = (value: Cell): string => {
    if (value === undefined) return '';
    if (typeof value === 'number') return String(value);
    const safe = /^[\s]*[=+\-@|%]|^[\t\r\n]/.test(value) ? `'${value}` : value;
    return /[",\r\n']/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `${cells.map(cell).join(',')}\r\n`;
}

/** Each column as wide as its widest cell. The first row is the head. */
export function tableLines(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, k) => Math.max(...rows.map((cells) => cells[k]?.length ?? 0)));
  return rows.map((cells) =>
    cells
      .map((cell, k) => cell.padEnd(widths[k] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
