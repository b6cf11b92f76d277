/**
 * `npm run test:cluster -- apptainer`, or by itself: pilots and real Apptainer containers (apptainer/host.ts says where).
 */
import { join } from 'node:path';
import { hostRefusal, runOnHost } from './apptainer/host.ts';

const refusal = hostRefusal();
if (refusal !== undefined) process.stdout.write(`1..0 # SKIP ${refusal}\n`);
else {
  for (const name of ['checks.ts', 'registry.ts']) {
    const { status } = runOnHost(join(import.meta.dirname, 'apptainer', name));
    if (status !== 0) process.exit(status ?? 1);
  }
}
