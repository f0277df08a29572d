/**
 * Cleans a log in a thread of its own, so that producers and consumers do not wait for it. The
 * files are those that the log has open: the thread knows them by their descriptors, which stay
 * open until it has answered or is gone.
 */
import { Worker } from "node:worker_threads";
import { assert } from "@millrace/errors";
import type {
  BeginPass,
  CleaningCounts,
  CleaningPass,
  Mapped,
  Output,
  PassSettings,
  SegmentFile,
  SegmentRules,
} from "../compaction/pass.ts";
import type { CleanedSegment } from "../segment/segment.ts";
import { errorOf } from "./failures.ts";
import { type Answer, type Begin, type Request, rowsOf, type Source } from "./messages.ts";

/** Beside this file, in the sources as in a build. */
const worker = new URL(
  `cleaning-worker${import.meta.url.endsWith(".ts") ? ".ts" : ".js"}`,
  import.meta.url,
);

/** How often the thread is told whether the cleaning is void, milliseconds. */
const lookMs = 20;

const descriptorOf = ({ descriptor }: Pick<Output, "descriptor">): number => {
  assert(descriptor !== undefined, "a file of the operating system has a descriptor");
  return descriptor;
};

const sourceOf = ({ baseOffset, file, path, sizeBytes }: SegmentFile): Source => ({
  ...{ path, baseOffset, sizeBytes },
  descriptor: descriptorOf(file),
});

class ThreadPass implements CleaningPass {
  readonly #thread: Worker;
  readonly #isVoid: () => boolean;
  readonly #flag = new Int32Array(new SharedArrayBuffer(4));
  #counts: CleaningCounts = { readBytes: 0, writtenBytes: 0, mapBytes: 0 };
  #waiting: PromiseWithResolvers<Answer> | undefined;
  /** Why the thread is gone. */
  #gone: Error | undefined;

  constructor(settings: PassSettings, isVoid: () => boolean) {
    this.#isVoid = isVoid;
    const workerData: Begin = { settings, isVoid: this.#flag };
    this.#thread = new Worker(worker, { workerData });
    this.#thread.on("message", (answer: Answer) => this.#waiting?.resolve(answer));
    // Files may be closed once it is gone, and not before.
    this.#thread.on("error", (error: Error) => {
      this.#gone ??= error;
    });
    this.#thread.on("exit", (code) => {
      this.#gone ??= new Error(`the thread that cleans a log has ended with ${code}`);
      this.#waiting?.reject(this.#gone);
    });
  }

  get counts(): CleaningCounts {
    return this.#counts;
  }

  async mapKeys(segment: SegmentFile): Promise<Mapped> {
    const { mapped } = await this.#ask({ kind: "mapKeys", source: sourceOf(segment) });
    assert(mapped !== undefined, "a thread says where its map has come to");
    return mapped;
  }

  async clean(
    segment: SegmentFile,
    rules: SegmentRules,
    output: Output,
  ): Promise<CleanedSegment | undefined> {
    const source = sourceOf(segment);
    const request = { kind: "clean", source, ...rules, output: descriptorOf(output) } as const;
    const { cleaned } = await this.#ask(request);
    return cleaned && { ...cleaned, rows: rowsOf(cleaned.rows) };
  }

  async #ask(request: Request): Promise<Answer> {
    assert(this.#waiting === undefined, "a thread is asked one thing at a time");
    if (this.#gone !== undefined) throw this.#gone;
    this.#waiting = Promise.withResolvers();
    const look = (): void => {
      if (this.#isVoid()) Atomics.store(this.#flag, 0, 1);
    };
    const looking = setInterval(look, lookMs);
    try {
      this.#thread.postMessage(request);
      const answer = await this.#waiting.promise;
      this.#counts = answer.counts;
      if (answer.failure !== undefined) throw errorOf(answer.failure);
      return answer;
    } finally {
      clearInterval(looking);
      this.#waiting = undefined;
    }
  }

  async end(): Promise<void> {
    await this.#thread.terminate();
  }
}

/** Begins a cleaning in a thread, which ends with it. */
export const beginCleaning: BeginPass = (settings, isVoid) => new ThreadPass(settings, isVoid);
