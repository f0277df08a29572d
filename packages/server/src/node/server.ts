/** What is around a server on a real machine: its directory, its HTTP port, its endpoints.json. */
import { type Resolved, redactedValues, type Schema, type Values } from "@millrace/config";
import type { Logger } from "@millrace/env";
import { serveHttp } from "@millrace/observability";
import type { BoundEndpoints } from "../listen.ts";
import { startOrUndo, type Undo } from "../undo.ts";
import { parseAddress } from "./address.ts";
import { build, buildOfClone } from "./build.ts";
import { lockDirectory, prepareDirectory } from "./data-directory.ts";
import { writeEndpoints } from "./endpoints.ts";
import type { ProcessMetrics } from "./metrics.ts";
import type { listenerSettings } from "./settings.ts";

/** The bound addresses. A process may have no other than that of HTTP. */
export type Endpoints<E extends Partial<BoundEndpoints> = BoundEndpoints> = E & {
  readonly http: string;
};

/** A server that runs. */
export interface RunningServer<E extends Partial<BoundEndpoints> = BoundEndpoints> {
  readonly endpoints: Endpoints<E>;
  stop(): Promise<void>;
}

type HttpSettings = Pick<typeof listenerSettings, "http-listen">;

/** Whether a process should get traffic, and why not. */
export class Readiness {
  #reason: string | undefined = "starting";

  /** Told when everything is served, and when it ends. */
  readonly onServing = (serving: boolean): void => {
    this.#reason = serving ? undefined : "stopping";
  };

  /** Told what a start waits for. */
  readonly onWaiting = (reason: string): void => {
    this.#reason = reason;
  };

  get state(): { readonly ready: boolean; readonly reasons: readonly string[] } {
    const reason = this.#reason;
    return { ready: reason === undefined, reasons: reason === undefined ? [] : [reason] };
  }
}

export interface SurroundingsOptions<S extends Schema & HttpSettings> {
  readonly schema: S;
  readonly resolved: Resolved<S>;
  /** Locked, and gets `endpoints.json`. Without one there is no such file. */
  readonly directory: string | undefined;
  readonly metrics: ProcessMetrics;
  readonly logger: Logger;
  /** Whether it does what it should; a process that does not is begun anew. */
  readonly isAlive?: () => boolean;
}

/** Keys as in every document of ours: `data_dir` for `--data-dir`. */
const configzOf = (values: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(values).map(([key, value]) => [key.replaceAll("-", "_"), value]),
  );

/** What a boot leaves. */
export interface Served<E extends Partial<BoundEndpoints> = BoundEndpoints> {
  readonly endpoints: E;
  stop(): Promise<void>;
}

/**
 * Locks the directory, serves HTTP, boots, and writes `endpoints.json` once everything is served.
 * Rejects with the MillraceError of the step that failed, and undoes the others.
 */
export const startServer = <
  S extends Schema & HttpSettings,
  E extends Partial<BoundEndpoints> = BoundEndpoints,
>(
  options: SurroundingsOptions<S>,
  boot: (readiness: Readiness, undo: Undo) => Promise<Served<E>>,
): Promise<RunningServer<E>> =>
  startOrUndo(options.logger, async (undo) => {
    const { schema, resolved, directory, metrics, logger, isAlive } = options;
    const values: Values<HttpSettings> = resolved.values;
    if (directory !== undefined) {
      prepareDirectory(directory);
      undo.add(lockDirectory(directory));
    }
    const readiness = new Readiness();
    let isTold = false;
    const http = await serveHttp({
      ...parseAddress(values["http-listen"]),
      metrics: metrics.registry,
      // A script that waits for this reads endpoints.json next.
      ready: () => (isTold || !readiness.state.ready ? readiness.state : new Readiness().state),
      configz: () => configzOf(redactedValues(schema, resolved)),
      logger,
      ...(isAlive === undefined ? {} : { isAlive }),
      onRefused: () => metrics.onHttpRefused(),
    });
    undo.add(() => http.close());
    // Git tells it of a clone: the start does not wait for that.
    void (build === undefined ? buildOfClone() : Promise.resolve(build)).then(
      (known) => metrics.onBuild(known),
      (err: unknown) => logger.warn({ err }, "the version of this server cannot be read"),
    );
    const served = await boot(readiness, undo);
    undo.add(() => served.stop());
    const endpoints = { ...served.endpoints, http: http.endpoint };
    if (directory !== undefined) writeEndpoints(directory, endpoints);
    isTold = true;
    return { endpoints, stop: () => undo.run(logger) };
  });
