/** `farfield function sign`: a publisher's manifest for a model folder or a built-in function. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { type RegisterVerb, usage, writeJson, writeLine } from '#base/cli.ts';
import { digestDirectory } from '#base/directory-digest.ts';
import { openPrivateFolder, writeDurable } from '#base/files.ts';
import { createKeyFile, loadSigner } from '#base/keys.ts';
import { utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { assertShape } from '#kernel/schema.ts';
import { type ManifestClaims, ManifestClaims as ManifestShape } from '#kernel/tokens/claims.ts';
import { openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import { argName, Model } from '#protos/model.ts';
import { openHome } from '../ts/home.ts';

interface SignOptions {
  readonly out: string;
  readonly runtime: readonly string[];
}

export const register: RegisterVerb = (program, context) => {
  program
    .command('function')
    .description('sign a function or model manifest as its publisher')
    .command('sign')
    .description('make the manifest of a model folder (with model.json), or sign a manifest written as JSON')
    .argument('<source>', 'a model folder, or a .json file with the manifest’s claims')
    .requiredOption('--out <file>', 'where to write the signed manifest')
    .option('--runtime <name...>', 'runtimes in which it may run', ['process', 'apptainer'])
    .action(async (source: string, options: SignOptions, command: Command) => {
      const home = openHome(context.home);
      openPrivateFolder(join(home.folder, 'keys'));
      const path = home.file('publisher');
      const signer = existsSync(path) ? loadSigner(path) : createKeyFile(path);
      const full = resolve(context.cwd, source);
      const claims = full.endsWith('.json') ? await readClaims(full) : await modelManifest(full, options.runtime);
      const text = signManifest(claims, [signer]);
      const { digest } = openManifest(text, [signer.jwk]);
      await writeDurable(resolve(context.cwd, options.out), utf8(text), 0o644);
      const shown = {
        name: claims.name,
        version: claims.version,
        manifest: digest,
        publisher: signer.jwk,
        models: claims.models,
        out: options.out,
      };
      if (command.optsWithGlobals().json === true) writeJson(context.stdout, shown);
      else
        writeLine(
          context.stdout,
          `${claims.name} ${claims.version} ${digest}\nsigned by publisher ${signer.kid}, written to ${options.out}`,
        );
    });
};

async function readJson(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new FarfieldError('E_INPUT', `cannot read ${path}`, { cause });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw usage(`${path} is not JSON: ${(cause as Error).message}`);
  }
}

async function readClaims(path: string): Promise<ManifestClaims> {
  return assertShape(ManifestShape, await readJson(path), 'E_MANIFEST', path);
}

/** Arguments of a model function are fixed: what to predict on, and optionally the truth to compare with. */
async function modelManifest(folder: string, runtimes: readonly string[]): Promise<ManifestClaims> {
  const model = assertShape(Model, await readJson(join(folder, 'model.json')), 'E_MODEL', join(folder, 'model.json'));
  return {
    v: 1,
    name: model.name,
    version: model.version,
    kind: 'model',
    adapter: 'ort',
    args: [
      { name: argName(model), types: ['hdf5', 'npy'] },
      { name: 'truth', types: ['hdf5', 'npy'], optional: true },
    ],
    models: [{ name: model.name, digest: await digestDirectory(folder) }],
    variants: model.variants.map(({ name, platform }) => ({ name: name ?? platform, runtimes: [...runtimes] })),
  };
}
