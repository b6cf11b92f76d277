/** Images of a registry that only the site's proxy reaches, behind a middle box that opens TLS. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openEgress } from '#base/proxy.ts';
import { openRegistry, parseReference } from '../../../agent/images/registry.ts';
import { startConnectProxy } from '../../fakes/connect-proxy.ts';
import { testTls } from '../../fakes/tls.ts';

t.test(
  "an image's documents come through the proxy, and the site's CA is trusted beside the well-known ones",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'farfield-registry-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const site = testTls(['registry.invalid', 'blobs.invalid']);
    const server = createServer(site.server, (request, response) => {
      // As large registries do: bytes lie on another host.
      if (request.url?.startsWith('/v2/lab/image/blobs/') === true && request.headers.host?.startsWith('registry'))
        response.writeHead(307, { location: `https://blobs.invalid:${port}/data` }).end();
      else response.end(`${request.headers.host?.split(':')[0]} ${request.url}`);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const hosts = { 'registry.invalid': '127.0.0.1', 'blobs.invalid': '127.0.0.1' };
    await using proxy = await startConnectProxy({ hosts });
    const caFile = join(folder, 'ca.pem');
    writeFileSync(caFile, site.ca);
    const reference = parseReference(`registry.invalid:${port}/lab/image:v1`);
    const way = `http://127.0.0.1:${proxy.port}`;
    const registry = openRegistry(reference, openEgress({ proxy: way, caFile }));
    t.equal(String(await registry.root()), 'registry.invalid /v2/lab/image/manifests/v1');
    let text = '';
    const blob = await registry.blob({ digest: 'sha256:00' } as Parameters<typeof registry.blob>[0]);
    for await (const chunk of blob) text += Buffer.from(chunk).toString();
    t.equal(text, 'blobs.invalid /data');
    t.strictSame([...new Set(proxy.asked)], [`registry.invalid:${port}`, `blobs.invalid:${port}`]);
    await t.rejects(openRegistry(reference, openEgress({ proxy: way })).root(), {
      code: 'E_UNAVAILABLE',
      message: /no answer from the registry/,
    });
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  },
);
