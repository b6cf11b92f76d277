/** The verbs of an endpoint's everyday: looking, testing, draining, asking why. One file a verb; here they are named. */
import type { RegisterVerb } from '#base/cli.ts';
import { registerCheck } from './check.ts';
import { registerDoctor } from './doctor.ts';
import { registerDrain, registerRestart, registerResume } from './drain.ts';
import { registerLeave } from './leave.ts';
import { registerLogs } from './logs.ts';
import { registerRender } from './render.ts';
import { registerSupportBundle } from './support-bundle.ts';
import { registerTestJob } from './test-job.ts';
import { registerWhy } from './why.ts';

export const registerOperating: RegisterVerb = (endpoint, context) => {
  registerCheck(endpoint, context);
  registerRender(endpoint, context);
  registerTestJob(endpoint, context);
  registerWhy(endpoint, context);
  registerLogs(endpoint, context);
  registerDrain(endpoint, context);
  registerResume(endpoint, context);
  registerRestart(endpoint, context);
  registerDoctor(endpoint, context);
  registerSupportBundle(endpoint, context);
  registerLeave(endpoint, context);
};
