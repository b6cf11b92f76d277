/** `farfield keys`: the long-term key. It signs delegations only, and is made here, never sent. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { type CliContext, type RegisterVerb, writeJson, writeLine } from '#base/cli.ts';
import { openPrivateFolder } from '#base/files.ts';
import { createKeyFile, loadSigner } from '#base/keys.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type HomeFile, openHome } from '../ts/home.ts';

const KINDS: Record<string, HomeFile> = { principal: 'principal', publisher: 'publisher' };

export const register: RegisterVerb = (program, context) => {
  const keys = program
    .command('keys')
    .description('your long-term keys: `principal` signs delegations, `publisher` signs manifests');
  keys
    .command('new')
    .description('make a key; refuses to replace one')
    .argument('[kind]', 'principal or publisher', 'principal')
    .action(async (kind: string, _options: unknown, command: Command) => {
      const path = openHome(context.home).file(fileOf(kind));
      if (existsSync(path)) {
        throw new FarfieldError(
          'E_CONFLICT',
          `there is a ${kind} key already; \`farfield keys show ${kind}\` shows its id. Move ${path} away to make a new one`,
        );
      }
      openPrivateFolder(context.home);
      openPrivateFolder(dirname(path));
      const signer = createKeyFile(path);
      print(context, command, { kind, kid: signer.kid, jwk: signer.jwk });
    });
  keys
    .command('show')
    .description('print the id of a key: what a site pins')
    .argument('[kind]', 'principal or publisher', 'principal')
    .action(async (kind: string, _options: unknown, command: Command) => {
      const path = openHome(context.home).file(fileOf(kind));
      if (!existsSync(path)) {
        throw new FarfieldError(
          'E_NOT_FOUND',
          `there is no ${kind} key yet; make one with \`farfield keys new ${kind}\``,
        );
      }
      const signer = loadSigner(path);
      print(context, command, { kind, kid: signer.kid, jwk: signer.jwk });
    });
};

function fileOf(kind: string): HomeFile {
  const file = KINDS[kind];
  if (file === undefined) throw new FarfieldError('E_USAGE', `a key is principal or publisher, not "${kind}"`);
  return file;
}

function print(context: CliContext, command: Command, key: { kind: string; kid: string; jwk: unknown }): void {
  if (command.optsWithGlobals().json === true) writeJson(context.stdout, key);
  else writeLine(context.stdout, key.kid);
}
