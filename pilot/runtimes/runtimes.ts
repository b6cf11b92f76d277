/** The runtimes of one pilot, made when the first spec names them: a pilot of plain processes never asks for an image. */
import type { Clock } from '#base/clock.ts';
import type { FileDigests } from '#base/file-digests.ts';
import type { Containment } from '#base/process.ts';
import type { Random } from '#base/random.ts';
import type { BlockFile } from '#protos/block-file.ts';
import { createApptainerRuntime } from './apptainer.ts';
import { createPodmanRuntime } from './podman.ts';
import { createProcessRuntime } from './process.ts';
import type { Runtime } from './runtime.ts';

export interface RuntimesOptions {
  readonly block: Pick<BlockFile, 'runner' | 'env' | 'containers'>;
  readonly outer: Readonly<Record<string, string>>;
  readonly containment: () => Promise<Containment>;
  readonly digests: FileDigests;
  readonly clock: Clock;
  readonly random: Random;
}

/** By name; undefined for one that this pilot does not have. */
export function openRuntimes(options: RuntimesOptions): (name: string) => Runtime | undefined {
  const { block, outer, ...parts } = options;
  const { runner, env, containers } = block;
  const made = new Map<string, Runtime>();
  const make = (name: string): Runtime | undefined => {
    if (name === 'process') return createProcessRuntime({ ...runner, env: { ...env, ...outer }, ...parts });
    if (containers === undefined) return undefined;
    const { images, gpu } = containers;
    const common = { ...parts, runner, env, outer, images, gpu: gpu === 'none' ? undefined : gpu };
    if (name === 'apptainer') return createApptainerRuntime({ ...common, program: containers.apptainer });
    if (name === 'podman') return createPodmanRuntime({ ...common, program: containers.podman });
    return undefined;
  };
  return (name) => {
    const known = made.get(name) ?? make(name);
    if (known !== undefined) made.set(name, known);
    return known;
  };
}
