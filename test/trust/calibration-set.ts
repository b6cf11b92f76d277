/**
 * Writes the simulated rows that BraggNN's error calibration is made of, and nothing else ever used:
 *
 *     node test/trust/calibration-set.ts --out FILE.h5 [--rows 20000] [--seed calibration-1]
 *     farfield model calibrate models/braggnn --input FILE.h5:/patches --labels FILE.h5:/true_xy --out ...
 */
import { parseArgs } from 'node:util';
import { createSeededRandom } from '#base/random.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { C3, PATCH, type Peaks, simulatePeaks } from './simulate.ts';

/** `/patches` f4 [n, 11, 11], `/true_xy` f8 [n, 2], `/peak_xy` f8 [n, 2]. */
export async function writePeaks(path: string, { rows, patches, trueXy, labelXy }: Peaks): Promise<void> {
  const library = await createHdf5Loader().acquire();
  using writer = new Hdf5Writer(library, path, { chunkRows: 512, durable: false });
  for (const [name, stored, shape, values] of [
    ['/patches', 'f4', [rows, PATCH, PATCH], patches],
    ['/true_xy', 'f8', [rows, 2], trueXy],
    ['/peak_xy', 'f8', [rows, 2], labelXy],
  ] as const) {
    writer.createDataset(name, stored, shape);
    writer.writeRows(name, 0, rows, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  writer.commit();
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { out: { type: 'string' }, rows: { type: 'string' }, seed: { type: 'string' } },
  });
  if (values.out === undefined) throw new Error('--out FILE.h5 is missing');
  const random = createSeededRandom(values.seed ?? 'calibration-1');
  await writePeaks(values.out, simulatePeaks(C3, Number(values.rows ?? 20_000), random));
}
