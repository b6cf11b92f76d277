/** `farfield image`: which container images an endpoint has, and how they come there (site admins). */
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { plainLine } from '#base/plain.ts';
import type { Egress } from '#base/proxy.ts';
import { isDigest } from '#kernel/ids.ts';
import { readAgentConfig } from '../config.ts';
import { type CachedImage, list, openImageCache } from '../images/cache.ts';
import { convertImage, parseSource } from '../images/convert.ts';
import { siteEgress } from '../network.ts';
import { chooseFolder, type FolderOptions } from './common.ts';

interface ImageOptions extends FolderOptions {
  readonly images?: string;
  readonly apptainer?: string;
}

interface Place {
  readonly folder: string;
  readonly apptainer: string;
  readonly maxBytes: number;
  readonly egress: Egress;
}

const MiB = 1024 * 1024;

export const register: RegisterVerb = (program, context) => {
  const image = program.command('image').description('container images of an endpoint (site admins)');
  withPlace(image.command('convert').description('bring an image into the cache: fetched, verified, made a SIF once'))
    .argument(
      '<source>',
      'FILE.sif, oci-archive:FILE, docker-archive:FILE, docker://HOST/NAME:TAG, oras://HOST/NAME:TAG',
    )
    .option('--expect <digest>', 'refuse any other image: sif:HEX or oci:HEX')
    .option('--verify-key <file>', 'refuse a SIF that this public key (PEM) has not signed')
    .action(async (source: string, options: ImageOptions & { expect?: string; verifyKey?: string }, command: Command) =>
      convert(context, source, options, command.optsWithGlobals().json === true),
    );
  withPlace(image.command('list').description('what is in the cache, last used first')).action(
    async (options: ImageOptions, command: Command) => {
      const images = await list(placeOf(context, options).folder);
      if (command.optsWithGlobals().json === true) writeJson(context.stdout, { images });
      else for (const line of images.map(describe)) writeLine(context.stdout, line);
    },
  );
  withPlace(
    image.command('prune').description('make the cache no larger than its limit; what was not used longest goes first'),
  )
    .option('--max <MiB>', "another limit than the endpoint's")
    .action(async (options: ImageOptions & { max?: string }, command: Command) =>
      prune(context, options, command.optsWithGlobals().json === true),
    );
};

function withPlace(command: Command): Command {
  return command
    .option('--state <folder>', "the endpoint's folder")
    .option('--name <name>', 'its name, where it lies in the usual place')
    .option('--images <folder>', "another cache than the endpoint's")
    .option('--apptainer <program>', 'another apptainer than the configured one');
}

function placeOf(context: CliContext, options: ImageOptions): Place {
  const given = options.images === undefined ? undefined : resolve(context.cwd, options.images);
  // A cache of one's own needs no endpoint.
  const named = options.state !== undefined || options.name !== undefined || given === undefined;
  const folder = named ? chooseFolder(context, options) : undefined;
  const { containers, network } = readAgentConfig(folder?.config ?? '');
  return {
    folder: given ?? containers.images ?? join(folder?.root ?? context.home, 'images'),
    apptainer: options.apptainer ?? containers.apptainer,
    maxBytes: containers.cacheBytes,
    egress: siteEgress(network, context.env),
  };
}

async function convert(
  context: CliContext,
  source: string,
  options: ImageOptions & { expect?: string; verifyKey?: string },
  json: boolean,
): Promise<void> {
  const { expect, verifyKey } = options;
  if (expect !== undefined && !/^(sif|oci):/.test(expect)) throw usage('--expect takes sif:HEX or oci:HEX');
  if (expect !== undefined && !isDigest(expect)) throw usage(`${plainLine(expect)} is no digest`);
  const parsed = parseSource(source);
  const from = parsed.kind === 'registry' ? parsed : { ...parsed, path: resolve(context.cwd, parsed.path) };
  const place = placeOf(context, options);
  const { clock } = context;
  using cache = await openImageCache({ folder: place.folder, digests: createFileDigests(), clock });
  const made = await convertImage(from, {
    cache,
    clock,
    apptainer: place.apptainer,
    egress: place.egress,
    arch: process.arch,
    ...(expect === undefined ? {} : { expect }),
    ...(verifyKey === undefined ? {} : { verifyKey: resolve(context.cwd, verifyKey) }),
  });
  const { removed } = await cache.trim(place.maxBytes);
  if (json) {
    writeJson(context.stdout, { ...made, removed: removed.map(({ sif }) => sif) });
    return;
  }
  writeLine(context.stdout, made.oci ?? made.sif);
  if (made.oci !== undefined)
    writeLine(context.stderr, `${made.known ? 'is here already as' : 'converted to'} ${made.sif}`);
  for (const { sif } of removed) writeLine(context.stderr, `removed from the cache: ${sif}`);
}

async function prune(context: CliContext, options: ImageOptions & { max?: string }, json: boolean): Promise<void> {
  const place = placeOf(context, options);
  if (options.max !== undefined && !/^\d{1,9}$/.test(options.max)) throw usage('--max takes a number of MiB');
  const maxBytes = options.max === undefined ? place.maxBytes : Number(options.max) * MiB;
  using cache = await openImageCache({ folder: place.folder, digests: createFileDigests(), clock: context.clock });
  const { removed, bytes } = await cache.trim(maxBytes);
  if (json) writeJson(context.stdout, { removed: removed.map(({ sif }) => sif), bytes });
  else writeLine(context.stdout, `removed ${removed.length}; ${Math.round(bytes / MiB)} MiB stay`);
}

function describe({ sif, bytes, oci, source, usedAt }: CachedImage): string {
  const size = `${Math.round(bytes / MiB)} MiB`;
  const used = `used ${new Date(usedAt).toISOString()}`;
  return [sif, ...oci, size, used, ...(source === undefined ? [] : [plainLine(source)])].join('  ');
}
