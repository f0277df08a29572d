/** What the next start must know of a partition that went offline, before the journal moves on. */
import type { LogContext } from "../context.ts";
import { keepOffline } from "../files/offline-file.ts";

export class OfflineRecord {
  readonly #context: LogContext;
  readonly #directory: string;
  /** Resolves to the reason if the `offline` file could not keep it, to "" if it did. */
  #unrecorded: Promise<string> = Promise.resolve("");

  constructor(context: LogContext, directory: string) {
    this.#context = context;
    this.#directory = directory;
  }

  /** Writes the reason to the partition's directory. */
  note(reason: string): void {
    const { disk, logger } = this.#context.env;
    const directory = this.#directory;
    this.#unrecorded = keepOffline(disk, directory, reason).then(
      () => "",
      (thrown: unknown) => {
        const text = "the offline file cannot be written: the recovery points keep the reason";
        logger.error({ directory, err: thrown }, text);
        return reason;
      },
    );
  }

  /** The recovery points keep the reason: the directory cannot be read or is not there. */
  keepInPoints(reason: string): void {
    this.#unrecorded = Promise.resolve(reason);
  }

  /** Why the partition is offline, if its directory could not keep it; "" otherwise. */
  unrecorded(): Promise<string> {
    return this.#unrecorded;
  }
}
