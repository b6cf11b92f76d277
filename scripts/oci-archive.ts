/**
 * oci-archive.ts NAME LAYER.tar ARCH OUT.tar: one layer as an OCI image in an archive. Everything in it follows from the
 * layer's bytes, so the manifest's digest does too: it is printed, and is what people sign.
 */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';

const BLOCK = 512;

/** A ustar header of a plain file: no owner, no time, so that nothing of this machine is in the archive. */
function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`;
  header.write(name, 0);
  header.write(octal(0o644, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  header.write(octal(size, 12), 124);
  header.write(octal(0, 12), 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  header.write(
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      7,
    ),
    148,
  );
  return header;
}

const padding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function main([name, layer, arch, out]: readonly string[]): Promise<void> {
  if (name === undefined || layer === undefined || arch === undefined || out === undefined)
    throw new Error('oci-archive.ts NAME LAYER.tar ARCH OUT.tar');
  const hash = createHash('sha256');
  await pipeline(createReadStream(layer), hash);
  const layerHex = hash.digest('hex');
  const config = Buffer.from(
    JSON.stringify({
      architecture: arch === '' ? (process.arch === 'x64' ? 'amd64' : process.arch) : arch,
      os: 'linux',
      config: { Env: ['PATH=/usr/local/bin:/usr/bin:/bin'], Labels: { 'org.opencontainers.image.title': name } },
      rootfs: { type: 'layers', diff_ids: [`sha256:${layerHex}`] },
    }),
  );
  const descriptor = (mediaType: string, hex: string, size: number) => ({ mediaType, digest: `sha256:${hex}`, size });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('application/vnd.oci.image.config.v1+json', sha256(config), config.length),
      layers: [descriptor('application/vnd.oci.image.layer.v1.tar', layerHex, statSync(layer).size)],
    }),
  );
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      manifests: [
        {
          ...descriptor('application/vnd.oci.image.manifest.v1+json', sha256(manifest), manifest.length),
          annotations: { 'org.opencontainers.image.ref.name': name },
        },
      ],
    }),
  );
  const aside = `${out}.part`;
  const file = openSync(aside, 'w');
  const add = (path: string, bytes: Buffer): void => {
    for (const part of [tarHeader(path, bytes.length), bytes, padding(bytes.length)]) writeSync(file, part);
  };
  try {
    add('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
    add('index.json', index);
    add(`blobs/sha256/${sha256(manifest)}`, manifest);
    add(`blobs/sha256/${sha256(config)}`, config);
    const { size } = statSync(layer);
    writeSync(file, tarHeader(`blobs/sha256/${layerHex}`, size));
    for await (const chunk of createReadStream(layer)) writeSync(file, chunk as Buffer);
    writeSync(file, padding(size));
    writeSync(file, Buffer.alloc(2 * BLOCK));
  } finally {
    closeSync(file);
  }
  renameSync(aside, out);
  process.stdout.write(`oci:${sha256(manifest)}\n`);
}

await main(process.argv.slice(2));
