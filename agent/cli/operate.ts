/** The verbs of an endpoint's everyday: looking, testing, draining, asking why. One file a verb; here they are named. */
import type { RegisterVerb } from '#base/cli.ts';
import { registerCheck } from './check.ts';
import { registerRender } from './render.ts';
import { registerTestJob } from './test-job.ts';

export const registerOperating: RegisterVerb = (endpoint, context) => {
  registerCheck(endpoint, context);
  registerRender(endpoint, context);
  registerTestJob(endpoint, context);
};
