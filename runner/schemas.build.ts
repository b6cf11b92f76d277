/**
 * Writes schemas.json, the JSON form of the schemas in protos/ that a runner checks against.
 *
 *     node runner/schemas.build.ts > runner/schemas.json
 *
 * A test compares the committed file with what this prints.
 */
import { Calibration } from '#protos/calibration.ts';
import { Model } from '#protos/model.ts';
import { RunnerRequest } from '#protos/runner.ts';
import { Sidecar } from '#protos/sidecar.ts';

/** The file's exact text. */
export function schemasText(): string {
  return `${JSON.stringify({ model: Model, calibration: Calibration, request: RunnerRequest, sidecar: Sidecar }, undefined, 1)}\n`;
}

if (import.meta.main) process.stdout.write(schemasText());
