/** Versions of functions, compared part by part, as a site's `minVersion` needs it. */

export type Version = readonly number[];

const VERSION = /^v?(\d{1,9}(?:\.\d{1,9}){0,7})(?:[-+].*)?$/;

/** The numbers of `1.2.3`; what follows a `-` or `+` is ignored; undefined if there are none. */
export function parseVersion(text: string): Version | undefined {
  return VERSION.exec(text)?.[1]?.split('.').map(Number);
}

/**
 * Whether `text` is at least `min`. Missing parts are 0. A pre-release (`1.2.0-rc1`) is below its release, and a version
 * that is no number at all never reaches a minimum: a name cannot talk its way past one.
 */
export function atLeast(text: string, min: Version): boolean {
  const version = parseVersion(text);
  if (version === undefined) return false;
  for (let k = 0; k < Math.max(version.length, min.length); k += 1) {
    const difference = (version[k] ?? 0) - (min[k] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return !/^v?[\d.]+-/.test(text);
}
