/**
 * Profiles: names for clusters, so that nobody types addresses. They are one YAML file,
 * `millrace/profiles.yaml` below `$XDG_CONFIG_HOME` or `~/.config`, which people may edit.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Io, UsageError } from "./io.ts";

export interface Profile {
  readonly bootstrap: string;
}

export interface Profiles {
  /** Used where nothing else is named. */
  readonly current: string | undefined;
  readonly profiles: ReadonlyMap<string, Profile>;
}

/** What a name may be: it is typed in shells. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export const checkProfileName = (name: string): void => {
  if (namePattern.test(name)) return;
  throw new UsageError(`profile ${JSON.stringify(name)}: use letters, digits, dots, - and _`);
};

export const profilesPath = ({ env }: Io): string =>
  join(
    env["XDG_CONFIG_HOME"] || join(env["HOME"] || homedir(), ".config"),
    "millrace",
    "profiles.yaml",
  );

const fileError = (path: string, what: string, cause?: unknown): MillraceError =>
  new MillraceError(ErrorCode.INVALID_CONFIG, `${path} ${what}: mend it, or remove it`, { cause });

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const parse = (path: string, document: unknown): Profiles => {
  if (document === null || document === undefined)
    return { current: undefined, profiles: new Map() };
  if (!isObject(document)) throw fileError(path, "is no map of profiles");
  const { current, profiles } = document;
  if (current !== undefined && typeof current !== "string") {
    throw fileError(path, "has a current that is no name");
  }
  if (profiles !== undefined && !isObject(profiles))
    throw fileError(path, "has no map of profiles");
  const found = new Map<string, Profile>();
  for (const [name, profile] of Object.entries(profiles ?? {})) {
    const bootstrap = isObject(profile) ? profile["bootstrap"] : undefined;
    if (typeof bootstrap !== "string")
      throw fileError(path, `has no bootstrap for profile ${name}`);
    found.set(name, { bootstrap });
  }
  return { current, profiles: found };
};

/** The file; none is no profiles. Throws INVALID_CONFIG for one that cannot be read. */
export const readProfiles = async (io: Io): Promise<Profiles> => {
  const path = profilesPath(io);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") {
      return { current: undefined, profiles: new Map() };
    }
    throw fileError(path, `cannot be read (${String(thrown)})`, thrown);
  }
  const yaml = await import("yaml");
  try {
    return parse(path, yaml.parse(text));
  } catch (thrown) {
    if (thrown instanceof MillraceError) throw thrown;
    const [why = ""] = String(thrown).split("\n");
    throw fileError(path, `is no YAML (${why})`, thrown);
  }
};

/** Writes the file as a whole. */
export const writeProfiles = async (io: Io, { current, profiles }: Profiles): Promise<void> => {
  const path = profilesPath(io);
  const yaml = await import("yaml");
  const document = {
    ...(current === undefined ? {} : { current }),
    profiles: Object.fromEntries(profiles),
  };
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, yaml.stringify(document), { mode: 0o600 });
  await rename(temporary, path);
};

export const requireProfile = (found: Profiles, name: string): Profile => {
  const profile = found.profiles.get(name);
  if (profile !== undefined) return profile;
  const known = [...found.profiles.keys()].join(", ");
  const use = known === "" ? "millrace profile add NAME --bootstrap HOST:PORT" : `one of ${known}`;
  throw new UsageError(`there is no profile ${name}: use ${use}`);
};

const standardBootstrap = "localhost:7400";
/** The source of addresses that nobody gave. */
export const standardSource = "the default";

/**
 * Addresses to ask first, and where they come from: `--bootstrap`, `--profile`,
 * `MILLRACE_BOOTSTRAP`, `MILLRACE_PROFILE`, the current profile, or this machine.
 */
export const bootstrapOf = async (
  io: Io,
  flags: { readonly bootstrap?: string; readonly profile?: string },
): Promise<{ readonly bootstrap: string; readonly source: string }> => {
  if (flags.bootstrap !== undefined) {
    if (flags.profile !== undefined)
      throw new UsageError("give --bootstrap or --profile, not both");
    return { bootstrap: flags.bootstrap, source: "--bootstrap" };
  }
  const { MILLRACE_BOOTSTRAP: address, MILLRACE_PROFILE: named } = io.env;
  // An empty variable counts as unset.
  if (flags.profile === undefined && address) {
    return { bootstrap: address, source: "MILLRACE_BOOTSTRAP" };
  }
  const found = await readProfiles(io);
  const name = flags.profile ?? (named || found.current);
  if (name === undefined) return { bootstrap: standardBootstrap, source: standardSource };
  return { bootstrap: requireProfile(found, name).bootstrap, source: `profile ${name}` };
};
