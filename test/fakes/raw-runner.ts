/**
 * A runner that misbehaves, in the words of its first argument. It answers `load` and then:
 *
 *     env      every item with its environment, working directory and open descriptors, as JSON
 *     garbage  prints a line of text where a frame should be
 *     deaf     never answers an item and never hears a cancel; keeps a child in a session of its own
 *     twice    answers an item twice
 *     outside  names a result file outside its folder
 *     link     makes a link of its folder's result to a file outside
 *     file     writes a result file of argument size `bytes`
 *     noisy    prints 3 MB on stderr, then answers
 *     crash    prints control sequences on stderr and dies
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPipeReader, encodePipeFrame } from '#base/pipe-frames.ts';
import type { RunnerItem, RunnerReply, RunnerRequest } from '#protos/runner.ts';

const mode = process.argv[2] ?? '';
const send = (reply: RunnerReply, body: Uint8Array[] = []): void =>
  void process.stdout.write(encodePipeFrame(reply, body));

function inline(item: RunnerItem, value: unknown): void {
  const bytes = Buffer.from(JSON.stringify(value));
  send(
    {
      op: 'done',
      items: [{ id: item.id, status: 'succeeded', result: { type: 'json', size: bytes.length, at: 'inline' } }],
    },
    [bytes],
  );
}

function file(item: RunnerItem, path: string, size: number): void {
  send({
    op: 'done',
    items: [{ id: item.id, status: 'succeeded', result: { type: 'bytes', size, at: 'file', path } }],
  });
}

function openDescriptors(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      return [];
    }
  });
}

function answer(item: RunnerItem): void {
  switch (mode) {
    case 'env':
      inline(item, { env: process.env, cwd: process.cwd(), fds: openDescriptors() });
      return;
    case 'garbage':
      process.stdout.write('Warning: this library likes to talk. '.repeat(10));
      return;
    case 'deaf': {
      // The test looks for this number in /proc: ids inside a PID namespace would not help it.
      spawn('sleep', ['7654321'], { detached: true, stdio: 'ignore' }).unref();
      return;
    }
    case 'twice':
      inline(item, 1);
      inline(item, 2);
      return;
    case 'outside':
      writeFileSync(join(item.outDir, '..', 'stolen'), 'x');
      file(item, join(item.outDir, '..', 'stolen'), 1);
      return;
    case 'link':
      symlinkSync('/etc/passwd', join(item.outDir, 'result.bin'));
      file(item, join(item.outDir, 'result.bin'), 1);
      return;
    case 'file': {
      const path = join(item.outDir, 'part', 'result.bin');
      mkdirSync(join(item.outDir, 'part'));
      writeFileSync(path, Buffer.alloc(200_000, 7));
      // The size is a lie: the pilot measures.
      file(item, path, 5);
      return;
    }
    case 'noisy':
      process.stderr.write('n'.repeat(3_000_000), () => inline(item, 'quiet now'));
      return;
    case 'crash':
      process.stderr.write(`${'x'.repeat(10_000)}\n\u001b[31mout of\u001b[0m luck\u0007\u202e\n`, () =>
        process.exit(3),
      );
      return;
    default:
      throw new Error(`no mode ${mode}`);
  }
}

const reader = createPipeReader();
process.stdin.on('data', (chunk: Buffer) => {
  for (const { header } of reader.push(chunk)) {
    const request = header as RunnerRequest;
    if (request.op === 'load') send({ op: 'ready', versions: { raw: '1' }, loadMs: 1 });
    if (request.op === 'run') for (const item of request.items) answer(item);
    if (request.op === 'close' && mode !== 'deaf') process.exit(0);
  }
});
process.stdin.on('end', () => process.exit(0));
if (mode === 'deaf') setInterval(() => {}, 1000);
