/**
 * From a block's request and the site's settings to the job: pure, so that `render` shows what would be submitted.
 */
import type { Driver, JobSpec, Rendered } from './driver.ts';
import { BATCH_DEFAULTS, type BatchConfig } from './options.ts';
import type { BlockRequest, BlockShape } from './scheduler.ts';
import { comment } from './text.ts';

export interface JobSetting {
  readonly endpoint: string;
  readonly config: BatchConfig;
  /** The pilot program; the block's folder is its last argument. */
  readonly pilot: readonly [string, ...string[]];
  readonly logFile: (block: string) => string;
}

/** Of the endpoint's id: enough to tell two endpoints of one account apart in a listing. */
const ENDPOINT_CHARS = 8;
/** Everybody who is served has a share; more names than these fit no comment. */
const MAX_USERS = 8;

export function jobName(endpoint: string, block: string): string {
  return `ff-${endpoint.slice(0, ENDPOINT_CHARS)}-${block}`;
}

export function jobSpec(request: BlockRequest, { endpoint, config, pilot, logFile }: JobSetting): JobSpec {
  const { block, folder, shape, users = [], avoid = [] } = request;
  const {
    nodes: _nodes,
    wallS: _wallS,
    commandPath: _path,
    commandS: _command,
    statusS: _status,
    submitsPerHour: _submits,
    ...options
  } = config;
  const more = users.length > MAX_USERS ? [`and_${users.length - MAX_USERS}_more`] : [];
  return {
    name: jobName(endpoint, block),
    comment: comment({
      endpoint: endpoint.slice(0, ENDPOINT_CHARS),
      block,
      ...(users.length === 0 ? {} : { users: [...users.slice(0, MAX_USERS), ...more].join(',') }),
    }),
    folder,
    log: logFile(block),
    nodes: shape.nodes,
    wallS: shape.wallS,
    pilot: [...pilot, folder],
    ...(avoid.length === 0 ? {} : { avoid }),
    options: {
      ...options,
      ...(shape.account === undefined ? {} : { account: shape.account }),
      ...(shape.queue === undefined ? {} : { queue: shape.queue }),
    },
  };
}

/** What a site asks for when a block asks for nothing else. */
export function siteShape({ nodes, wallS, account, queue }: BatchConfig): BlockShape {
  return {
    nodes: nodes ?? BATCH_DEFAULTS.nodes,
    wallS: wallS ?? BATCH_DEFAULTS.wallS,
    ...(account === undefined ? {} : { account }),
    ...(queue === undefined ? {} : { queue }),
  };
}

/** The exact files of a block of this site, for `farfield endpoint render` and to refuse a bad setting at the start. */
export function renderExample(
  driver: Driver,
  setting: JobSetting,
  folder: string,
  users: readonly string[] = [],
): Rendered {
  return driver.render(jobSpec({ block: 'EXAMPLE', folder, shape: siteShape(setting.config), users }, setting));
}
