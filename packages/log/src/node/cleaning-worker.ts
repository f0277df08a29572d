/** The thread of `cleaning-thread.ts`: a pass that nobody waits for in turns. */
import { parentPort, workerData } from "node:worker_threads";
import { fileOfDescriptor, nodeClock } from "@millrace/env/node";
import { nodeCompressor } from "@millrace/record/node";
import { LocalPass } from "../compaction/local-pass.ts";
import type { SegmentFile } from "../compaction/pass.ts";
import { failureOf } from "./failures.ts";
import { type Answer, type Begin, copyRows, type Request } from "./messages.ts";

const partBytes = 1024 * 1024;

const { isVoid, settings }: Begin = workerData;
const clock = { ...nodeClock(), defer: (fn: () => void) => fn() };
const pass = new LocalPass(
  { clock, compressor: nodeCompressor },
  settings,
  () => Atomics.load(isVoid, 0) === 1,
  partBytes,
);

const fileOf = ({ baseOffset, descriptor, path, sizeBytes }: Request["source"]): SegmentFile => ({
  ...{ path, baseOffset, sizeBytes },
  file: fileOfDescriptor(descriptor),
});

const done = async (request: Request): Promise<Omit<Answer, "counts">> => {
  const segment = fileOf(request.source);
  if (request.kind === "mapKeys") return { mapped: await pass.mapKeys(segment) };
  const cleaned = await pass.clean(segment, request, fileOfDescriptor(request.output));
  return cleaned === undefined ? {} : { cleaned: { ...cleaned, rows: copyRows(cleaned.rows) } };
};

parentPort?.on("message", async (request: Request) => {
  const answer = await done(request).catch((thrown) => ({ failure: failureOf(thrown) }));
  const moved = "cleaned" in answer && answer.cleaned ? [answer.cleaned.rows.buffer] : [];
  parentPort?.postMessage({ ...answer, counts: pass.counts } satisfies Answer, moved);
});
