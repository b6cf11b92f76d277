/**
 * A program of several ranks, for tests of gangs: every rank tells rank 0 over the rendezvous address who and where it is, and
 * rank 0 prints what it heard. Plain JavaScript: on a cluster's nodes it runs as it is.
 *
 * The argument `x` is {"fail": RANK} (that one ends with 7), {"hang": true} (ranks stay until they are ended), or {}.
 */
import { createConnection, createServer } from 'node:net';
import { hostname } from 'node:os';

const text = await new Promise((resolve) => {
  let all = '';
  process.stdin.on('data', (chunk) => (all += chunk)).on('end', () => resolve(all));
});
const { x = {} } = JSON.parse(text);
const rank = Number(process.env.FARFIELD_RANK);
const ranks = Number(process.env.FARFIELD_RANKS);
const nodes = process.env.FARFIELD_NODES.split(',');
const [, port] = process.env.FARFIELD_RENDEZVOUS.split(':');
const host = x.host ?? process.env.FARFIELD_RENDEZVOUS.split(':')[0];
const me = { rank, local: Number(process.env.FARFIELD_LOCAL_RANK), node: nodes[process.env.FARFIELD_NODE_RANK], host: hostname() };
process.stderr.write(`rank ${rank} of ${ranks} on ${me.node}\n`);
if (x.fail === rank) {
  process.stderr.write('told to fail\n');
  process.exit(7);
}
if (x.hang === true || x.fail !== undefined) setInterval(() => {}, 1000);
else if (rank === 0) {
  const heard = [me];
  const done = () => {
    if (heard.length < ranks) return;
    process.stdout.write(JSON.stringify(heard.sort((a, b) => a.rank - b.rank)));
    server.close();
  };
  const server = createServer((socket) => {
    let line = '';
    socket.on('data', (chunk) => (line += chunk)).on('end', () => {
      heard.push(JSON.parse(line));
      socket.end('heard');
      done();
    });
  }).listen(Number(port));
  done();
} else {
  // Ranks begin within a moment of each other: the first may not listen yet.
  const dial = () => {
    const socket = createConnection({ host, port: Number(port) }, () => socket.end(JSON.stringify(me)));
    socket.on('error', () => setTimeout(dial, 50)).on('data', () => {});
  };
  dial();
}
