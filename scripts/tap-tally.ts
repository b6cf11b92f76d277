/**
 * Reads the TAP of a whole run, line by line, and keeps the account that `npm test` closes with.
 *
 * 1. What counts is the sentence: a test directly below its file. Assertions inside it are shown only when they fail.
 * 2. Nothing is left out in silence: a skip or a todo at any depth is named with its reason, and one without a reason is
 *    a failure.
 * 3. Every file that was asked for reports, or is a failure: tap drops those that run beside one that times out.
 * 4. A file that fails although each of its sentences passed (it threw at load, leaked, never ended) is a failure of its
 *    own, whatever other files do.
 */
export interface Omission {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

export interface Account {
  readonly passed: number;
  readonly failed: number;
  readonly omissions: readonly Omission[];
  /** Files that were asked for and have not reported. */
  readonly missing: readonly string[];
}

export interface TapTally {
  /** Takes one line of TAP; answers the lines to show for it. */
  feed(line: string): readonly string[];
  account(): Account;
}

interface Point {
  readonly depth: number;
  readonly ok: boolean;
  readonly name: string;
  readonly directive: 'skip' | 'todo' | undefined;
  readonly reason: string;
  /** Its parts follow in braces instead of going before. */
  readonly opens: boolean;
}

const INDENT = 4;

export function parsePoint(line: string): Point | undefined {
  const match = /^( *)(ok|not ok) \d+(?: - (.*?))?( \{)?$/.exec(line);
  if (match === null) return undefined;
  const text = (match[3] ?? '').replace(/ # time=[\d.]+m?s$/, '');
  // A `#` that belongs to the name is escaped.
  const said = /^(.*?)(?:^|\s+)(?<!\\)# (skip|todo)\b\s*(.*)$/i.exec(text);
  return {
    depth: (match[1] ?? '').length / INDENT,
    ok: match[2] === 'ok',
    name: unescapeTap(said === null ? text : (said[1] ?? '')),
    directive: said === null ? undefined : ((said[2] ?? '').toLowerCase() as 'skip' | 'todo'),
    reason: unescapeTap(said?.[3] ?? ''),
    opens: match[4] !== undefined,
  };
}

function unescapeTap(text: string): string {
  return text.replace(/\\([#\\])/g, '$1').trim();
}

export function createTapTally(files: readonly string[]): TapTally {
  const missing = new Set(files);
  let passed = 0;
  let failed = 0;
  const omissions: Omission[] = [];
  let file = '';
  /** Of the file that is being read. */
  let passedHere = 0;
  let failedHere = 0;
  /** The depth of the failure shown last: its parents, which fail because of it, need no diagnostics. */
  let shownDepth = 0;
  /** The diagnostics that are being read, and whether they are shown. */
  let block: { readonly end: string; readonly show: boolean } | undefined;
  let pointShown = false;

  const sentence = (point: Point): void => {
    if (point.directive !== undefined) return;
    if (point.ok) passedHere += 1;
    else failedHere += 1;
  };

  const endFile = (point: Point): string[] => {
    const lines: string[] = [];
    missing.delete(point.name);
    if (!point.ok && failedHere === 0) {
      failedHere += 1;
      const isFile = point.name.endsWith('.test.ts');
      lines.push(`FAILED: ${point.name}${isFile ? ': the file failed outside its tests' : ''}`);
    }
    passed += passedHere;
    failed += failedHere;
    lines.push(`${failedHere === 0 ? 'ok    ' : 'not ok'} ${point.name}: ${passedHere} passed, ${failedHere} failed`);
    passedHere = 0;
    failedHere = 0;
    return lines;
  };

  const takePoint = (point: Point): string[] => {
    const here = point.depth === 0 ? point.name : file;
    if (point.directive !== undefined) omissions.push({ file: here, name: point.name, reason: point.reason });
    const isFailure = !point.ok && point.directive === undefined;
    const isParent = point.opens || shownDepth > point.depth;
    pointShown = isFailure && !isParent && (point.depth > 0 || failedHere === 0);
    shownDepth = pointShown ? point.depth : Math.min(shownDepth, point.depth);
    if (point.depth === 0) return endFile(point);
    if (point.depth === 1) sentence(point);
    if (!isFailure) return [];
    return point.depth === 1 || pointShown ? [`FAILED: ${here}: ${point.name}`] : [];
  };

  return {
    feed(line) {
      if (block !== undefined) {
        const { show, end } = block;
        if (line === end) block = undefined;
        return show && line !== end ? [line] : [];
      }
      const opening = /^( *)---$/.exec(line);
      if (opening !== null) {
        block = { end: `${opening[1]}...`, show: pointShown };
        return [];
      }
      const started = /^# Subtest: (.*)$/.exec(line)?.[1];
      if (started !== undefined) file = unescapeTap(started);
      const point = parsePoint(line);
      if (point !== undefined) return takePoint(point);
      return [];
    },
    account: () => ({ passed, failed, omissions, missing: [...missing] }),
  };
}

/** The lines that end a run; the last one stands alone. `others` are failures that TAP knows nothing of. */
export function closingLines(
  { passed, failed, omissions, missing }: Account,
  others: number,
): { lines: string[]; failed: number } {
  const lines = omissions.map(
    ({ file, name, reason }) =>
      `skipped: ${file}: ${name}: ${reason === '' ? 'NO REASON GIVEN, which is a failure' : reason}`,
  );
  for (const file of missing) lines.push(`FAILED: ${file}: never reported`);
  const total = failed + others + missing.length + omissions.filter(({ reason }) => reason === '').length;
  const skipped = omissions.length > 0 ? `, ${omissions.length} skipped` : '';
  return { lines: [...lines, '', `${passed} passed, ${total} failed${skipped}`], failed: total };
}
