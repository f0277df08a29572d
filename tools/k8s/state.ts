/**
 * What `k8s:up` has started and changed, written down before it is relied on: `k8s:down` ends and
 * undoes this, and nothing else, also after an `up` that ended half way.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { ProcessIdentity } from "./processes.ts";

/** How the machine was. */
export interface Before {
  /** Directories outside of ours that did not exist. */
  readonly absentDirectories: readonly string[];
  readonly sysctls: Readonly<Record<string, string>>;
  /** Names in `/run/netns`. */
  readonly networkNamespaces: readonly string[];
  /** Tables of nftables, such as `ip nat`. */
  readonly nftTables: readonly string[];
}

export interface State {
  readonly kind: "api-only" | "cluster";
  /** In the order of their start. */
  readonly processes: readonly ProcessIdentity[];
  readonly before?: Before;
  /** Of the API server. */
  readonly url?: string;
}

const fileOf = (directory: string): string => join(directory, "state.json");

/** What is noted down in this directory, or undefined where nothing is. */
export const readState = (directory: string): State | undefined => {
  if (!existsSync(fileOf(directory))) return undefined;
  return JSON.parse(readFileSync(fileOf(directory), "utf8"));
};

/** The file is always whole. */
const write = (directory: string, state: State): void => {
  const staging = `${fileOf(directory)}.new`;
  writeFileSync(staging, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
  renameSync(staging, fileOf(directory));
};

/** The notes of an `up` that runs. */
export class Notes {
  readonly directory: string;
  #state: State;

  private constructor(directory: string, state: State) {
    this.directory = directory;
    this.#state = state;
  }

  /** Begins in a directory that is missing or empty: `down` removes it with everything in it. */
  static begin(directory: string, kind: State["kind"]): Notes {
    if (readState(directory) !== undefined) {
      throw new Error(`${directory} has a cluster already: end it with \`npm run k8s:down\``);
    }
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (readdirSync(directory).length > 0) {
      throw new Error(`${directory} is not empty, and not a cluster's: use --dir with another`);
    }
    const state: State = { kind, processes: [] };
    writeFileSync(fileOf(directory), JSON.stringify(state), { flag: "wx", mode: 0o600 });
    return new Notes(directory, state);
  }

  get state(): State {
    return this.#state;
  }

  note(changes: Partial<Pick<State, "before" | "url">>): void {
    this.#state = { ...this.#state, ...changes };
    write(this.directory, this.#state);
  }

  started({ name, pid, started }: ProcessIdentity): void {
    const processes = [...this.#state.processes, { name, pid, started }];
    this.#state = { ...this.#state, processes };
    write(this.directory, this.#state);
  }
}
