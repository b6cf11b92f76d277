/** The way out of a site: which hosts go through its proxy, and that every kind of connection does. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttps } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { Agent, request } from 'undici';
import { grpcAcceptor, grpcDialler } from '#base/link/grpc.ts';
import type { Acceptor, Dialler } from '#base/link/seam.ts';
import { wsAcceptor, wsDialler } from '#base/link/ws.ts';
import { egressFromEnv, openEgress, openTunnel, requestConnect, type SiteProxy } from '#base/proxy.ts';
import { startConnectProxy } from '../fakes/connect-proxy.ts';
import { testTls } from '../fakes/tls.ts';

/** A name that no resolver knows, so nothing reaches it but a proxy. */
const NAME = 'broker.invalid';
const hosts = { [NAME]: '127.0.0.1' };
const tls = testTls([NAME]);
const quiet = (): AbortSignal => new AbortController().signal;

t.test('NO_PROXY names hosts, suffixes, addresses and ranges; loopback is never asked of a proxy', async (t) => {
  const goesThrough = (noProxy: string, host: string, port = 443): boolean =>
    openEgress({ proxy: 'http://proxy.site.example:3128', noProxy }).proxyFor(host, port) !== undefined;
  t.ok(goesThrough('', 'broker.example'));
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '::1', '[::1]']) t.notOk(goesThrough('', host), host);
  t.notOk(goesThrough('*', 'broker.example'));
  for (const noProxy of ['broker.example', '.example', 'example', '*.example', 'a.b, example ,c', 'BROKER.example:443'])
    t.notOk(goesThrough(noProxy, 'Broker.Example'), noProxy);
  for (const noProxy of ['ker.example', 'sub.broker.example', 'broker.example:8443', '10.0.0.0/8', ','])
    t.ok(goesThrough(noProxy, 'broker.example'), noProxy);
  t.notOk(goesThrough('10.0.0.0/8', '10.20.30.40'));
  t.ok(goesThrough('10.0.0.0/8', '11.0.0.1'));
  t.notOk(goesThrough('fd00::/8', '[fd12::1]'));
  t.notOk(goesThrough('[2001:db8::1]:443', '2001:db8::1'));
  t.notOk(goesThrough('192.168.0.7', '192.168.0.7'));
});

t.test('the environment is read as other programs read it', async (t) => {
  t.strictSame(egressFromEnv({ HTTPS_PROXY: 'http://A', https_proxy: 'http://b', NO_PROXY: 'x' }), {
    proxy: 'http://b',
    noProxy: 'x',
    caFile: undefined,
  });
  t.equal(openEgress(egressFromEnv({ https_proxy: '' })).proxyFor('broker.example', 443), undefined);
  const bare = openEgress({ proxy: 'proxy.site.example:3128' }).proxyFor('broker.example', 443);
  t.match(bare, { host: 'proxy.site.example', port: 3128, secure: false, shown: 'http://proxy.site.example:3128' });
  const full = openEgress({ proxy: 'https://us%40er:p%3Ass@proxy.site.example' }).proxyFor('broker.example', 443);
  t.match(full, { port: 443, secure: true, shown: 'https://proxy.site.example' });
  t.equal(full?.credentials(), 'us@er:p:ss');
  t.notMatch(JSON.stringify(full), 'ss', 'who prints it prints no password');
  for (const proxy of ['socks5://user:geheim@proxy', 'http://:geheim@', 'http://user:geheim@ho st'])
    t.throws(() => openEgress({ proxy }), { code: 'E_USAGE', message: /^((?!geheim).)*$/ }, proxy);
});

/** Brokers' two kinds of door, and what dials them. */
async function withDoors(run: (url: { ws: string; grpc: string; https: string }) => Promise<void>): Promise<void> {
  const server = createHttps({ key: tls.server.key, cert: tls.server.cert }, (_request, response) => {
    response.end('answered');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const acceptors: Acceptor[] = [
    wsAcceptor({ server, hosts: [NAME] }),
    await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: tls.server }),
  ];
  const echoes = acceptors.map(async (acceptor) => {
    for await (const link of acceptor.links) {
      void (async () => {
        for await (const frame of link.frames) link.send(frame);
      })();
    }
  });
  const grpcPort = new URL(acceptors[1]?.address ?? '').port;
  try {
    const https = `https://${NAME}:${port}`;
    await run({ ws: https, grpc: `grpcs://${NAME}:${grpcPort}`, https });
  } finally {
    for (const acceptor of acceptors) await acceptor[Symbol.asyncDispose]();
    await Promise.all(echoes);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function echo(dialler: Dialler): Promise<string> {
  const link = await dialler.dial(quiet());
  link.send(Buffer.from('through'));
  for await (const frame of link.frames) {
    link.close();
    await link.closed;
    return Buffer.from(frame).toString();
  }
  return 'nothing came';
}

t.test(
  'links of both kinds and requests go through the proxy, which resolves the name and knows the password',
  async (t) => {
    await using proxy = await startConnectProxy({ hosts, credentials: 'site:geheim' });
    const egress = openEgress({ proxy: `http://site:geheim@127.0.0.1:${proxy.port}` });
    await withDoors(async (url) => {
      t.equal(await echo(wsDialler({ url: url.ws, ca: tls.ca, egress })), 'through');
      t.strictSame(proxy.asked, [new URL(url.ws).host]);
      t.equal(await echo(grpcDialler({ url: url.grpc, ca: tls.ca, egress })), 'through');
      // The probe before it, and the link.
      t.strictSame(proxy.asked.slice(1), [new URL(url.grpc).host, new URL(url.grpc).host]);
      const agent = new Agent({ connect: requestConnect(egress, url.https, tls.ca), connections: 1 });
      const answers = [];
      for (let i = 0; i < 2; i++) answers.push(await (await request(url.https, { dispatcher: agent })).body.text());
      t.strictSame(answers, ['answered', 'answered']);
      t.equal(proxy.asked.length, 4, 'the second request goes over the same tunnel');
      await agent.destroy();
      t.ok(proxy.bytes > 4000);
    });
  },
);

t.test('a link of a tunnel that is cut ends as any other does', async (t) => {
  await using proxy = await startConnectProxy({ hosts });
  const egress = openEgress({ proxy: `http://127.0.0.1:${proxy.port}` });
  await withDoors(async (url) => {
    for (const dialler of [
      wsDialler({ url: url.ws, ca: tls.ca, egress }),
      grpcDialler({ url: url.grpc, ca: tls.ca, egress }),
    ]) {
      const link = await dialler.dial(quiet());
      proxy.cut();
      t.match(await link.closed, { clean: false });
    }
  });
});

t.test('what a proxy does wrong is told with its address and without its password', async (t) => {
  await using proxy = await startConnectProxy({ hosts, credentials: 'site:geheim' });
  const at = (text: string): SiteProxy => openEgress({ proxy: text }).proxyFor(NAME, 443) as SiteProxy;
  const shown = `http://127.0.0.1:${proxy.port}`;
  const told = async (text: string, host = NAME): Promise<string> => {
    const error: Error = await openTunnel(at(text), host, 1).then(
      () => new Error('a tunnel'),
      (reason: Error) => reason,
    );
    t.match(error, { code: 'E_UNAVAILABLE' });
    t.notMatch(`${error.message} ${JSON.stringify(error)} ${String(error.cause)}`, 'geheim');
    return error.message;
  };
  t.match(await told(shown), `the proxy ${shown} wants a user and password (407)`);
  t.match(await told(`http://site:geheim2@127.0.0.1:${proxy.port}`), 'does not take this user and password');
  t.match(
    await told(`http://site:geheim@127.0.0.1:${proxy.port}`, 'other.invalid'),
    'refuses a connection to other.invalid:1 (502)',
  );
  t.match(await told('http://site:geheim@127.0.0.1:1'), 'cannot be used: connect ECONNREFUSED 127.0.0.1:1');
  const egress = openEgress({ proxy: 'http://site:geheim@127.0.0.1:1' });
  for (const dialler of [
    wsDialler({ url: `https://${NAME}:1`, ca: tls.ca, egress }),
    grpcDialler({ url: `grpcs://${NAME}:1`, ca: tls.ca, egress }),
  ])
    await t.rejects(dialler.dial(quiet()), {
      code: 'E_UNAVAILABLE',
      message: /proxy http:\/\/127\.0\.0\.1:1 cannot be used/,
    });
});

t.test('a proxy that speaks TLS itself carries WebSocket and requests; gRPC says that it cannot', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-proxy-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const site = testTls(['127.0.0.1']);
  await using proxy = await startConnectProxy({ hosts, tls: site.server });
  writeFileSync(join(folder, 'ca.pem'), site.ca);
  const egress = openEgress({ proxy: `https://127.0.0.1:${proxy.port}`, caFile: join(folder, 'ca.pem') });
  await withDoors(async (url) => {
    t.equal(await echo(wsDialler({ url: url.ws, ca: tls.ca, egress })), 'through');
    await t.rejects(grpcDialler({ url: url.grpc, ca: tls.ca, egress }).dial(quiet()), {
      code: 'E_UNAVAILABLE',
      message: /WebSocket can/,
    });
  });
});

t.test("a site's CA is trusted beside the pinned one, and only where it is named", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-ca-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const site = testTls(['127.0.0.1']);
  // A middle box that ends TLS: its certificate is by the site, not by the broker.
  const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: site.server });
  t.teardown(() => acceptor[Symbol.asyncDispose]());
  const file = join(folder, 'ca.pem');
  writeFileSync(file, site.ca);
  const dial = (caFile?: string): Promise<unknown> =>
    grpcDialler({ url: acceptor.address, ca: tls.ca, egress: openEgress({ caFile }) }).dial(quiet());
  await t.rejects(dial(), { code: 'E_UNAVAILABLE' });
  const link = (await dial(file)) as { close(): void };
  link.close();
  t.throws(() => openEgress({ caFile: join(folder, 'missing.pem') }), { code: 'E_USAGE' });
  writeFileSync(file, 'not a certificate');
  t.throws(() => openEgress({ caFile: file }), { code: 'E_USAGE', message: /no file of PEM certificates/ });
});
