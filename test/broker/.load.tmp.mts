// node load.mts STATE MODE SECONDS
import { readFileSync } from 'node:fs';
import { callControl } from '#base/control.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { grpcDialler } from '#base/link/grpc.ts';
import { wsDialler } from '#base/link/ws.ts';
import { fromBase64Url, fromUtf8 } from '#kernel/bytes.ts';
import { openChain } from '#kernel/chain.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { generateKey, signerFrom, signToken } from '#kernel/sign.ts';
import { openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import { createBrokerHttp } from '/work/main/client/ts/http.ts';
import { encodeSubmission, signTicket } from '/work/main/client/ts/submission.ts';
import { followEvents } from '/work/main/client/ts/events.ts';
import { createAgentPeer } from '/work/main/test/fakes/agent-peer.ts';
const [state, mode, secs, transport='grpc'] = process.argv.slice(2);
const status = await callControl(`${state}/admin.sock`, 'status', {}) as any;
const pid = status.pid;
const invite = async (kind: string, id: string) => JSON.parse(fromUtf8(fromBase64Url(((await callControl(`${state}/admin.sock`, 'invite', { kind, id })) as any).token.slice(4))!));
const peer = createAgentPeer({ clock: systemClock, random: systemRandom, brokerId: status.brokerId });
const einv = await invite('endpoint', peer.endpoint);
const principal = signerFrom(generateKey()), session = signerFrom(generateKey());
const broker = { url: einv.url, ca: einv.ca, brokerId: einv.brokerId };
const h0 = createBrokerHttp({ broker, signer: principal, chain: [], clock: systemClock, random: systemRandom });
await h0.json({ method: 'POST', path: '/v1/enrol', body: Buffer.from(JSON.stringify({ secret: einv.secret, descriptor: peer.descriptor })), contentType: 'application/json', unsigned: true });
const uinv = await invite('user', principal.kid);
await h0.json({ method: 'POST', path: '/v1/users', body: Buffer.from(JSON.stringify({ secret: uinv.secret, jwk: principal.jwk })), contentType: 'application/json' });
const iat0 = Math.floor(Date.now() / 1000);
const chain = [signToken('farfield-delegation+jwt', { v: 1, iss: principal.kid, jwk: principal.jwk, sub: { iss: 'pin', id: 'x' }, cnf: session.jwk, use: 'session', iat: iat0, exp: iat0 + 3600, adm: iat0 + 3600, scope: {} }, principal)];
const opened = openChain(chain);
const manifest = signManifest({ v: 1, name: 'test/noop', version: '1', kind: 'model', adapter: 'noop', args: [{ name: 'x', types: ['json'] }], models: [], variants: [{ name: 'any', runtimes: ['process'] }] }, [principal]);
const md = openManifest(manifest, []).digest;
const http = createBrokerHttp({ broker, signer: session, chain, clock: systemClock, random: systemRandom });
const keep = setInterval(() => {}, 1000);
const agent = await peer.dial(transport === 'grpc' ? grpcDialler({ url: einv.grpc, ca: einv.ca }) : wsDialler({ url: einv.url, ca: einv.ca }), { credit: { items: 1e9, bytes: 1e15 }, auto: true });
const n = mode === 'batch' ? 1000 : 1;
const perReq = mode === 'batch' ? 1 : 100;
let terms = 0, done = 0, lat: number[] = [];
const stop = new AbortController();
let wake: (() => void)[] = [];
void followEvents({ http, clock: systemClock, random: systemRandom, signal: stop.signal, onEvent(e) { if (e.type === 'terminal') { terms++; for (const t of (e.data as any).tickets) done += t.items.length; const w = wake; wake = []; w.forEach(f => f()); } } });
await new Promise(r => setTimeout(r, 300));
const make = () => { const iat = Math.floor(Date.now() / 1000); return signTicket({ endpoint: peer.endpoint, subject: opened.delegation.claims.sub, delegation: opened.delegation.hash, fn: { name: 'test/noop', version: '1', manifest: md }, models: [], resources: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 64, wallS: 60 }, run: { maxFailures: 1, maxStarts: 2, timeoutS: 10 }, output: { maxBytes: 1024, to: 'return' } }, Array.from({ length: n }, () => ({ args: [{ name: 'x', type: 'json' as const, bytes: Buffer.from(systemRandom.bytes(1024)) }] })), { jti: uuidv7(Date.now(), systemRandom.bytes(10)), iat, exp: iat + 3600 }, session, principal.kid, mode === 'batch'); };
const cpu = () => { const f = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' '); const tasks = {} as any; return (Number(f[11]) + Number(f[12])) / 100; };
// prepare bodies ahead so that the client is not the limit
const total = mode === 'latency' ? 300 : mode === 'batch' ? Number(secs) * 12 : Number(secs) * 25;
const bodies = Array.from({ length: total }, () => encodeSubmission(Array.from({ length: mode === 'latency' ? 1 : perReq }, make).map(signed => ({ signed, chain, manifest }))));
const send = (body: Uint8Array) => http.json<any>({ method: 'POST', path: '/v1/invocations', body, contentType: 'application/vnd.farfield.submission', unsigned: true });
const c0 = cpu(), t0 = performance.now();
if (mode === 'latency') {
  for (const body of bodies) { const a = performance.now(); await send(body); lat.push(performance.now() - a); }
  lat.sort((a, b) => a - b); console.log('submit p50', lat[150]!.toFixed(2), 'p99', lat[296]!.toFixed(2));
} else {
  let sent = 0;
  const per = n * perReq;
  while (sent < total) { while (sent * per - done > 5000) await new Promise<void>(r => wake.push(r)); const b = bodies[sent++]!; void send(b).then(r => { for (const t of r.tickets) if (t.outcome !== 'queued') { console.log(t); process.exit(1); } }); if (sent * per - done > 4000) await new Promise<void>(r => setImmediate(r)); }
  while (done < total * per) await new Promise<void>(r => wake.push(r));
  const s = (performance.now() - t0) / 1000, c = cpu() - c0;
  console.log(mode, transport, `${Math.round(done / s)}/s wall, broker cpu ${(c / done * 1e6).toFixed(1)} us an item -> ${Math.round(done / c)}/s a core (all threads), packs ${terms}`);
}
console.log('rss', ((await callControl(`${state}/admin.sock`, 'status', {})) as any).rssBytes / 1e6 | 0);
process.exit(0);
