/** systemd itself reads the units, where it is installed; their promises are read everywhere. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { root } from '../law/source.ts';

const folder = join(root, 'config/systemd');
const units = readdirSync(folder);
const text = (unit: string): string => readFileSync(join(folder, unit), 'utf8');

function analyser(): string | false {
  try {
    execFileSync('systemd-analyze', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'systemd-analyze is not installed here';
  }
}

t.test('systemd finds nothing to say about any unit', { skip: analyser() }, async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'farfield-units-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  const program = join(home, 'farfield');
  writeFileSync(program, '#!/bin/sh\n');
  chmodSync(program, 0o755);
  for (const unit of units) {
    // It looks whether the program is there and whether units that are named can be read; neither is so before an installation.
    const installed = text(unit)
      .replace(/^ExecStart=\S+/m, `ExecStart=${program}`)
      .replace(/^(After|Wants)=.*\n/gm, '')
      .replace(/^User=.*$/m, 'User=root');
    const place = join(home, unit.replace('@.', '@somebody.'));
    writeFileSync(place, installed);
    const scope = unit === 'farfield-agent.service' ? ['--user'] : [];
    const runtime = join(home, 'run');
    mkdirSync(runtime, { recursive: true });
    const { status, stdout, stderr } = spawnSync('systemd-analyze', [...scope, 'verify', '--man=no', place], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: runtime },
    });
    const about = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('farfield'));
    t.strictSame(about, [], unit);
    t.equal(status, 0, `${unit}: ${stderr}`);
  }
});

t.test('each says that it is ready by itself, is watched, and is not started for ever', async (t) => {
  t.strictSame(units.toSorted(), ['farfield-agent.service', 'farfield-agent@.service', 'farfield-broker.service']);
  for (const unit of units) {
    for (const line of [
      'Type=notify',
      'NotifyAccess=all',
      'StartLimitBurst=5',
      'UMask=0077',
      'Restart=on-failure',
      'WatchdogSec=120',
    ])
      t.match(text(unit), new RegExp(`^${line}$`, 'm'), `${unit}: ${line}`);
  }
  for (const unit of units.filter((name) => name.includes('agent')))
    t.match(text(unit), /^KillMode=process$/m, `${unit}: a restart ends no work`);
});
