/**
 * One line on stderr that is redrawn: a bar in a terminal, a line a second elsewhere. Nothing with FARFIELD_PROGRESS=0 or
 * --json, unless FARFIELD_PROGRESS=1 asks for it.
 */
import type { CliContext } from '#base/cli.ts';
import { plain } from '#base/plain.ts';

export interface ProgressLine {
  show(text: string, done?: number, total?: number): void;
  clear(): void;
}

const BAR_WIDTH = 24;
const PLAIN_EVERY_MS = 1000;

export function createProgress(context: CliContext, enabled: boolean): ProgressLine {
  const asked = context.env.FARFIELD_PROGRESS;
  if (asked === '0' || (!enabled && asked !== '1')) return { show: () => undefined, clear: () => undefined };
  const { stderr, clock } = context;
  const terminal = stderr.isTTY === true;
  let shownAt = Number.NEGATIVE_INFINITY;
  let shown = '';
  return {
    show(text, done = 0, total = 0) {
      const line =
        total > 0 ? `${bar(done / total)} ${Math.floor((100 * done) / total)} %  ${plain(text)}` : plain(text);
      if (line === shown) return;
      if (terminal) {
        stderr.write(`\r\x1b[2K${line.slice(0, (stderr.columns ?? 80) - 1)}`);
      } else {
        // A log file wants what changed, not every step of it.
        const now = clock.mono();
        if (now - shownAt < PLAIN_EVERY_MS && total > 0) return;
        shownAt = now;
        stderr.write(`${line}\n`);
      }
      shown = line;
    },
    clear() {
      if (terminal && shown !== '') stderr.write('\r\x1b[2K');
      shown = '';
    },
  };
}

export function bar(fraction: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_WIDTH);
  return `[${'#'.repeat(full)}${'-'.repeat(BAR_WIDTH - full)}]`;
}
