/**
 * Whether the broker answers over the TLS that this endpoint pinned, and how far the clocks are apart.
 *
 * Its answer to /livez proves its certificate and nothing about this endpoint: that is shown by the link, once the agent runs.
 */
import { Agent, request } from 'undici';
import type { CliContext } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { requestConnect } from '#base/proxy.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { DEFAULT_CLOCK_TOLERANCE_S } from '#kernel/limits.ts';
import { ROUTES } from '#protos/http.ts';
import type { ResolvedAgentConfig } from '../config.ts';
import { readBroker } from '../identity/broker.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { siteEgress } from '../network.ts';
import { type Finding, fail, ok, warn } from './findings.ts';
import { spanOf } from './show.ts';

const LIMIT_MS = 10_000;
/** The Date header has whole seconds. */
const DATE_GRAIN_S = 1;

export async function checkBroker(
  context: CliContext,
  folder: AgentFolder,
  config: ResolvedAgentConfig,
): Promise<Finding[]> {
  let broker: ReturnType<typeof readBroker>;
  try {
    broker = readBroker(folder);
  } catch (reason) {
    const { code, message } = FarfieldError.from(reason);
    if (code !== 'E_NOT_FOUND') throw reason;
    return [
      fail(
        'broker',
        message.split(';')[0] ?? message,
        'ask its operator for `farfield broker invite --endpoint ID`, then: farfield endpoint join TOKEN',
      ),
    ];
  }
  const egress = siteEgress(config.network, context.env);
  const agent = new Agent({ connect: requestConnect(egress, broker.url, broker.ca), connections: 1 });
  const before = context.clock.now();
  try {
    const answer = await request(new URL(ROUTES.ready.url, broker.url), {
      dispatcher: agent,
      headersTimeout: LIMIT_MS,
      bodyTimeout: LIMIT_MS,
    });
    const text = await answer.body.text();
    const after = context.clock.now();
    const ready =
      answer.statusCode === 200
        ? ok(
            'broker',
            `${broker.url} answers, with the certificate that was pinned, after ${spanOf((after - before) / 1000)}`,
          )
        : warn(
            'broker',
            `${broker.url} answers ${answer.statusCode}: ${plainLine(text)}`,
            'its operator sees why; the agent goes on trying',
          );
    return [ready, ...clockFinding(answer.headers.date, (before + after) / 2)];
  } catch (reason) {
    const cause = (reason as { cause?: Error }).cause ?? (reason as Error);
    return [
      fail(
        'broker',
        `${broker.url} cannot be reached: ${plainLine(cause.message)}`,
        'is it running, and may this host reach it? A way out by proxy is `network: { proxy: ... }` in config.yaml; a certificate that changed means a new invitation, after asking its operator',
      ),
    ];
  } finally {
    await agent.destroy();
  }
}

/** Tickets are judged by this host's clock: an offset refuses calls that are good. */
export function clockFinding(date: string | string[] | undefined, nowMs: number): Finding[] {
  const there = Date.parse(String(date));
  if (Number.isNaN(there))
    return [warn('clock', "the broker's answer has no date", 'compare this clock by hand: chronyc tracking')];
  const offsetS = Math.abs(nowMs - there) / 1000;
  const seen = `this clock and the broker's differ by ${offsetS <= DATE_GRAIN_S ? 'less than a second' : spanOf(offsetS)}`;
  const remedy = 'set this clock (chronyd or systemd-timesyncd); tickets are judged by it';
  if (offsetS > DEFAULT_CLOCK_TOLERANCE_S) return [fail('clock', seen, remedy)];
  if (offsetS > DEFAULT_CLOCK_TOLERANCE_S / 4) return [warn('clock', seen, remedy)];
  return [ok('clock', seen)];
}
