/** `describe`, `probe`, `selftest`: one JSON object on stdout each, an exit code of exits.ts. */
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { EXIT, EXIT_MEANINGS } from './exits.ts';
import { chooseVariant, openModel, openOnnx, probeVariants, variantName } from './model.ts';
import { createModelCalls } from './model-calls.ts';
import { outputWords } from './post.ts';
import { openScratch } from './scratch.ts';
import { openModelCalibration } from './uncertainty/calibration.ts';

/** What the command line gave, and what a command may touch. */
export interface CommandParts {
  readonly model: string;
  readonly variant: string | undefined;
  readonly threads: number;
  readonly clock: Clock;
  readonly print: (text: string) => void;
}

/** Answers the exit code. */
type Command = (parts: CommandParts) => Promise<number>;

/** Every command checks the model as far as a pilot's runner would: what these accept, `pipe` accepts. */
export const COMMANDS: Readonly<Record<string, Command>> = {
  describe: reported(async ({ model }) => {
    const open = openModel(model);
    const { name, version, description, inputs, outputs, batch, groups, baselines } = open.model;
    const words = outputWords(open.model);
    return {
      model: { name, version, description, digest: `sha256:${open.digest}` },
      inputs,
      outputs,
      result: { columns: words.axes, units: words.units },
      batch,
      groups,
      baselines,
      variants: open.model.variants.map((v) => ({
        variant: variantName(v),
        platform: v.platform,
        precision: v.precision,
      })),
      exitCodes: Object.fromEntries(
        Object.entries(EXIT).map(([key, code]) => [code, EXIT_MEANINGS[key as keyof typeof EXIT]]),
      ),
    };
  }),
  probe: reported(async ({ model, clock }) => {
    const open = openModel(model);
    const variants = probeVariants(open.model);
    // A variant that an adapter serves still needs its file to be the right one, and the model's calibration to be of it.
    for (const probe of variants.filter(({ runs }) => runs)) {
      try {
        const variant = chooseVariant(open.model, probe.variant);
        await openOnnx(open, variant.variant);
        openModelCalibration(open, variant, true);
      } catch (reason) {
        Object.assign(probe, { runs: false, reason: FarfieldError.from(reason).message });
      }
    }
    return { ...(await createModelCalls('ort', clock).probe()), variants };
  }),
  selftest: reported(async ({ model, variant, threads, clock }) => {
    using scratch = openScratch('selftest');
    const calls = createModelCalls('ort', clock);
    try {
      const started = clock.mono();
      const versions = await calls.load({ modelRoot: model, variant, entry: {}, threads, scratchDir: scratch.path });
      const { lanes, goldenDistance } = calls.stats();
      const golden = goldenDistance === undefined ? { golden: 'none' } : { golden: 'passed', goldenDistance };
      return { ...golden, lanes, loadMs: Math.round(clock.mono() - started), versions };
    } finally {
      await calls.close();
    }
  }),
};

/** Prints what the command finds, or why it cannot, as one line of JSON. */
function reported(run: (parts: CommandParts) => Promise<Record<string, unknown>>): Command {
  return async (parts) => {
    try {
      parts.print(`${JSON.stringify({ ok: true, ...(await run(parts)) })}\n`);
      return EXIT.ok;
    } catch (reason) {
      if (!(reason instanceof FarfieldError)) throw reason;
      parts.print(`${JSON.stringify({ ok: false, error: { code: reason.code, message: reason.message } })}\n`);
      return EXIT.load;
    }
  };
}
