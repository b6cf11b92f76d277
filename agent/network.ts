/** `network:` of config.yaml: the way out of the site. The environment says the same where the file is silent. */
import { type Static, Type as T } from 'typebox';
import { type Egress, egressFromEnv, openEgress } from '#base/proxy.ts';

export const NetworkShape = T.Object(
  {
    proxy: T.Optional(
      T.String({
        maxLength: 2048,
        description: 'http://[user:password@]host:port of the proxy; default: HTTPS_PROXY. `none` uses none',
      }),
    ),
    noProxy: T.Optional(
      T.String({ maxLength: 8192, description: 'hosts reached without it, with commas; default: NO_PROXY' }),
    ),
    ca: T.Optional(
      T.String({
        pattern: '^/',
        maxLength: 4096,
        description: "PEM file of the site's own CA, trusted beside the broker's; default: NODE_EXTRA_CA_CERTS",
      }),
    ),
  },
  { additionalProperties: false },
);
export type NetworkConfig = Static<typeof NetworkShape>;

export function siteEgress(config: NetworkConfig, env: Readonly<Record<string, string | undefined>>): Egress {
  const said = egressFromEnv(env);
  return openEgress({
    proxy: config.proxy === 'none' ? undefined : (config.proxy ?? said.proxy),
    noProxy: config.noProxy ?? said.noProxy,
    caFile: config.ca ?? said.caFile,
  });
}
