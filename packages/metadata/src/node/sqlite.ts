/** The embedded store's state in an SQLite file, through `node:sqlite`. Every commit is fsynced. */
import { DatabaseSync } from "node:sqlite";
import type { Clock, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { KeyValue } from "../api.ts";
import {
  EmbeddedStore,
  type Persistence,
  type StoredChange,
  type StoredState,
} from "../embedded.ts";

/** Version of the tables. */
const FORMAT_VERSION = 1;

const unusable = (path: string, what: string, cause?: unknown): MillraceError =>
  new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, `${path}: ${what}`, { cause });

class SqlitePersistence implements Persistence {
  readonly #path: string;
  readonly #database: DatabaseSync;

  constructor(path: string) {
    this.#path = path;
    this.#database = new DatabaseSync(path);
    // FULL in WAL mode fsyncs the log at every commit, before it returns.
    this.#database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    this.#database.exec(`
      CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
      CREATE TABLE IF NOT EXISTS kv (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,
        mod_revision INTEGER NOT NULL, version INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;`);
  }

  load(): StoredState {
    const format = this.#meta("format") ?? FORMAT_VERSION;
    if (format > FORMAT_VERSION) {
      throw unusable(
        this.#path,
        `the metadata has format ${format}, this version reads up to ${FORMAT_VERSION}: use a newer version`,
      );
    }
    this.#setMeta("format", FORMAT_VERSION);
    const rows = this.#database.prepare("SELECT * FROM kv").all();
    return { revision: this.#meta("revision") ?? 1, kvs: rows.map(toKeyValue) };
  }

  commit(change: StoredChange): void {
    const database = this.#database;
    database.exec("BEGIN IMMEDIATE");
    try {
      const put = database.prepare("INSERT OR REPLACE INTO kv VALUES (?, ?, ?, ?, ?)");
      for (const { key, value, createRevision, modRevision, version } of change.puts) {
        put.run(key, value, createRevision, modRevision, version);
      }
      const remove = database.prepare("DELETE FROM kv WHERE key = ?");
      for (const key of change.deletes) remove.run(key);
      this.#setMeta("revision", change.revision);
      database.exec("COMMIT");
    } catch (thrown) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw thrown;
    }
  }

  close(): void {
    this.#database.close();
  }

  #meta(name: string): number | undefined {
    const row = this.#database.prepare("SELECT value FROM meta WHERE name = ?").get(name);
    return row === undefined ? undefined : Number(row["value"]);
  }

  #setMeta(name: string, value: number): void {
    this.#database.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(name, value);
  }
}

const toKeyValue = (row: Record<string, unknown>): KeyValue => {
  const { key, value, create_revision, mod_revision, version } = row;
  if (typeof key !== "string" || !(value instanceof Uint8Array)) {
    throw new TypeError("a row of the metadata is not a key and a value");
  }
  return {
    key,
    value,
    createRevision: Number(create_revision),
    modRevision: Number(mod_revision),
    version: Number(version),
    lease: undefined,
  };
};

/**
 * Opens (or makes) the store in the file. Throws DATA_DIRECTORY_UNUSABLE for a damaged or newer
 * one.
 */
export const openSqliteStore = (options: {
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
}): EmbeddedStore => {
  const { path, clock, random } = options;
  try {
    const persistence = new SqlitePersistence(path);
    return new EmbeddedStore({ clock, random, persistence });
  } catch (thrown) {
    if (thrown instanceof MillraceError) throw thrown;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    throw unusable(path, `the metadata cannot be read: ${text}: restore it from a backup`, thrown);
  }
};
