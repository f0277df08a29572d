/** What `tools/pack` builds into the package; in a clone there is none of it. */

export interface Build {
  readonly version: string;
  readonly commit: string;
}

declare const MILLRACE_BUILD: Build;

/** Undefined in a clone, where the sources run. */
export const build: Build | undefined =
  typeof MILLRACE_BUILD === "undefined" ? undefined : MILLRACE_BUILD;
