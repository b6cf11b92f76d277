/** Results on their way to the broker: from where it stopped, once, and what neither side has any longer is said so. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createManualClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { type Blobs, createBlobs } from '../../agent/blobs.ts';
import { testTls } from '../fakes/tls.ts';

const HEX = 'ab'.repeat(32);

interface Setting {
  readonly blobs: Blobs;
  readonly spool: string;
  /** Bodies of the PUTs, with their offset. */
  readonly puts: string[];
  /** What the broker says that it has: a number of bytes, all, or nothing at all. */
  have: number | 'all' | 'nothing';
}

async function start(t: Test): Promise<Setting> {
  const { ca, server: certificate } = testTls();
  const spool = mkdtempSync(join(tmpdir(), 'farfield-blobs-'));
  const puts: string[] = [];
  const server: Server = createServer(certificate, (request, response) => {
    const url = new URL(request.url ?? '', 'https://broker');
    if (request.method === 'HEAD') {
      if (setting.have === 'nothing') response.writeHead(404);
      else if (setting.have === 'all') response.writeHead(200, { 'farfield-complete': 'true' });
      else response.writeHead(200, { 'farfield-have': String(setting.have) });
      response.end();
      return;
    }
    let body = `${url.searchParams.get('offset')}:`;
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on('end', () => {
      puts.push(body);
      response.writeHead(200).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const blobs = createBlobs({
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca,
    brokerId: 'broker',
    signer: () => signer,
    cache: spool,
    spool,
    cacheBytes: 1024,
    clock: createManualClock(1_700_000_000_000),
    random: createSeededRandom(1),
  });
  const signer = signerFrom(generateKey());
  const setting: Setting = { blobs, spool, puts, have: 'nothing' };
  t.teardown(async () => {
    await blobs[Symbol.asyncDispose]();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(spool, { recursive: true, force: true });
  });
  return setting;
}

t.test('an upload goes on where the broker stopped, and what it has whole is not sent again', async (t) => {
  const setting = await start(t);
  writeFileSync(join(setting.spool, HEX), 'result');
  await setting.blobs.upload(HEX, 'ticket');
  setting.have = 3;
  await setting.blobs.upload(HEX, 'ticket');
  setting.have = 'all';
  await setting.blobs.upload(HEX, 'ticket');
  t.same(setting.puts, ['0:result', '3:ult']);
});

t.test('a result that is no longer here matters only if the broker lacks it', async (t) => {
  const setting = await start(t);
  setting.have = 'all';
  await setting.blobs.upload(HEX, 'ticket');
  for (const have of ['nothing', 3] as const) {
    setting.have = have;
    await t.rejects(setting.blobs.upload(HEX, 'ticket'), { code: 'E_NOT_FOUND', message: /no longer here/ });
  }
  t.same(setting.puts, []);
});
