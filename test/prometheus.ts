/**
 * A reader of Prometheus' text format 0.0.4, strict where a scraper is lenient: every sample stands under the TYPE of its own
 * metric, none is there twice, a histogram's buckets rise to its count.
 */
import { request } from 'node:http';

/** Value by series, as it is written: `name{label="value"}`. Throws at the first line that is wrong. */
export function parseMetrics(text: string): ReadonlyMap<string, number> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  let name = '';
  for (const line of text.trimEnd().split('\n')) {
    const head = /^# (HELP|TYPE) ([a-z][a-z_]+) (.+)$/.exec(line);
    if (head !== null) {
      if (head[1] === 'HELP' && types.has(head[2] ?? '')) throw new Error(`${head[2]} is described twice`);
      name = head[2] ?? '';
      if (head[1] === 'TYPE') types.set(name, head[3] ?? '');
      continue;
    }
    const sample = /^([a-z_]+)(\{(?:[a-z]+="[^"\\\n]*",?)+\})? (-?[0-9.e+-]+)$/.exec(line);
    if (sample === null) throw new Error(`no sample: ${line}`);
    const [, of = '', labels = '', value = ''] = sample;
    const own = types.get(name) === 'histogram' ? of.replace(/_(bucket|sum|count)$/, '') : of;
    if (own !== name) throw new Error(`${line} stands under ${name}`);
    if (types.get(name) === 'counter' && !of.endsWith('_total')) throw new Error(`${of} counts, and is no _total`);
    if (samples.has(of + labels)) throw new Error(`${of}${labels} is there twice`);
    samples.set(of + labels, Number(value));
  }
  for (const [histogram, type] of types) if (type === 'histogram') checkBuckets(histogram, samples);
  return samples;
}

function checkBuckets(name: string, samples: ReadonlyMap<string, number>): void {
  const buckets = [...samples].filter(([series]) => series.startsWith(`${name}_bucket{`)).map(([, value]) => value);
  if (buckets.some((value, k) => value < (buckets[k - 1] ?? 0))) throw new Error(`the buckets of ${name} fall`);
  const count = samples.get(`${name}_count`);
  if (buckets.length === 0 || buckets.at(-1) !== count || samples.get(`${name}_bucket{le="+Inf"}`) !== count)
    throw new Error(`the last bucket of ${name} is not its count`);
}

export interface Page {
  readonly status: number;
  readonly text: string;
  readonly type: string;
}

/** `at`: a socket's path, or host and port. */
export function getPage(at: object, path: string, method = 'GET'): Promise<Page> {
  return new Promise((done, failed) => {
    const asked = request({ ...at, path, method, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('end', () =>
        done({ status: response.statusCode ?? 0, text, type: response.headers['content-type'] ?? '' }),
      );
    });
    asked.on('error', failed);
    asked.end();
  });
}
