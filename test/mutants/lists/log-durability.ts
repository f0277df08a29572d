import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const disk = `${src}/faults/disk.test.ts`;
const failedDisk = `${src}/faults/failed-disk.test.ts`;
const powerCut = `${src}/faults/power-cut.test.ts`;
const writer = `${src}/segment/writer.test.ts`;
const memory = `${src}/faults/memory.test.ts`;
const crash = "packages/sim/src/crash/crash.test.ts";

/** Order and durability of writes. */
export const durability: readonly Mutant[] = [
  {
    name: "log-fsync-counts-before-write",
    breaks: "An fsync that began before a write landed does not cover it.",
    file: `${src}/segment/segment.ts`,
    replace: [
      [
        "    this.#writtenBytes = Math.max(this.#writtenBytes, endPosition);\n    this.durability.changed();",
        "    this.#writtenBytes = Math.max(this.#writtenBytes, endPosition);",
      ],
      [
        "    this.#firstAppendMs ??= appendTimeMs;",
        "    this.durability.changed();\n    this.#firstAppendMs ??= appendTimeMs;",
      ],
    ],
    tests: [crash],
  },
  {
    name: "log-checkpoint-ignores-queued-writes",
    breaks: "A checkpoint covers batches that are still queued for their segment.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [["segment.cutting || context.writes.has(segment);", "segment.durability.pending;"]],
    tests: [disk, memory, crash],
  },
  {
    name: "log-cover-after-failure",
    breaks: "Nothing is claimed to be durable once the disk has failed.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "    const failure = this.#options.failure();\n    if (failure !== undefined) throw failure;\n    if (!bugs",
        "    if (!bugs",
      ],
    ],
    tests: [failedDisk, crash],
  },
  {
    name: "log-sync-failure-passes",
    breaks: "An fsync that failed for want of room has not happened.",
    file: `${src}/files/patient-disk.ts`,
    replace: [
      [
        "    const error = syncFailed(this.path, causeOf(thrown));",
        "    const error = causeOf(thrown) as MillraceError;",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-sync-failure-told-late",
    breaks: "A failed fsync stops the directory at once, not when its checkpoint is over.",
    file: `${src}/files/patient-disk.ts`,
    replace: [['if (!this.path.endsWith(".tmp")) this', "if (false) this"]],
    tests: [failedDisk, disk, crash],
  },
  {
    name: "log-dirty-flag-cleared-first",
    breaks: "I/O that fails leaves everything pending that it should have made durable.",
    file: `${src}/files/durability.ts`,
    replace: [
      [
        "    const { version } = this;\n    await io();\n    this.durableUpTo(version);",
        "    const { version } = this;\n    this.durableUpTo(version);\n    await io();",
      ],
    ],
    tests: [failedDisk, disk, crash],
  },
  {
    name: "log-sync-covers-later-changes",
    breaks: "What changes during an fsync is not covered by it.",
    file: `${src}/files/durability.ts`,
    replace: [
      [
        "    await io();\n    this.durableUpTo(version);",
        "    await io();\n    this.durableUpTo(Math.max(version, this.version));",
      ],
    ],
    tests: [`${src}/files/durability.test.ts`, crash],
  },
  {
    name: "log-epochs-captured-is-written",
    breaks: "Leader epochs that a checkpoint captured and did not write are not forgotten.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "  const complete = epochs === undefined || epochs.entries.length === entries.length;",
        "  const complete = epochs === undefined || epochs.entries.length === entries.length;\n  if (epochs !== undefined) durability.durableUpTo(epochs.version);",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-workers-left-running",
    breaks: "The next checkpoint does not run beside workers of one that failed.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        '    const outcomes = await Promise.allSettled(Array.from({ length: parallel }, worker));\n    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;',
        "    await Promise.all(Array.from({ length: parallel }, worker));",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-transient-is-final",
    breaks: "A shortage of descriptors or memory says nothing about the disk.",
    file: `${src}/files/disk-errors.ts`,
    replace: [
      [
        'const transient: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "EINTR", "EAGAIN", "ENOMEM"]);',
        "const transient: ReadonlySet<string> = new Set();",
      ],
    ],
    tests: [disk],
  },
  {
    name: "log-side-file-unsynced",
    breaks: "A side file is fsynced before it takes its name.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [["    await fill(file);\n    await file.sync();", "    await fill(file);"]],
    tests: [memory, crash],
  },
  {
    name: "log-truncate-names-unsynced",
    breaks: "Segments that a truncation removed are gone durably before a recovery point says so.",
    file: `${src}/partition/partition-files.ts`,
    replace: [
      [
        "      await cutFiles(this.#context, this, segment, dropped);\n      this.names.changed();\n",
        "      const { config, directory } = this;\n      const names = new Durability();\n      await cutFiles(this.#context, { config, directory, names }, segment, dropped);\n",
      ],
    ],
    tests: [powerCut, crash],
  },
  {
    name: "log-index-cut-unsynced",
    breaks:
      "Index entries of another history are gone durably before a recovery point moves past them.",
    file: `${src}/recovery/checkpoint.ts`,
    replace: [
      [
        "if (index.cutPending || (sealed && index.finished)) await",
        "if (sealed && index.finished) await",
      ],
    ],
    tests: [powerCut],
  },
  {
    name: "log-restart-trusts-page-cache",
    breaks: "After a failed fsync and a restart the bytes are written again.",
    file: `${src}/recovery/segment-io.ts`,
    replace: [["      await files.with(segment, (file) => rewrite(file, from, end));\n", ""]],
    tests: [disk],
  },
  {
    name: "log-last-round-not-secured",
    breaks: "Recovery does not act on a journal round that a power cut can take back.",
    file: `${src}/open.ts`,
    replace: [["  if (plan !== undefined) await secureLastRound(disk, plan);\n", ""]],
    tests: [powerCut, crash],
  },
  {
    name: "log-names-found-not-secured",
    breaks: "Names that a dead process made are durable before they are relied on.",
    file: `${src}/open.ts`,
    replace: [["  if (!clean) await syncNames(disk);\n", ""]],
    tests: [powerCut],
  },
  {
    name: "log-weak-written-after-failure",
    breaks: "A batch that a failure dropped is not acknowledged from the page cache.",
    file: `${src}/segment/writer.ts`,
    replace: [
      [
        "    if (this.#failure !== undefined) return Promise.reject(this.#failure);\n    const lane = this.#lanes.get(segment);",
        "    const lane = this.#lanes.get(segment);",
      ],
    ],
    tests: [failedDisk, writer, crash],
  },
  {
    name: "log-stuck-read-waits",
    breaks: "A read of bytes that wait for room ends.",
    file: `${src}/segment/writer.ts`,
    replace: [
      ["    for (const { reject } of lane.waiters.splice(0)) reject(stuckError(segment));\n", ""],
    ],
    tests: [writer, disk],
  },
  {
    name: "log-checkpoint-after-close",
    breaks: "No checkpoint claims what a directory dropped as it was closed.",
    file: `${src}/manager.ts`,
    replace: [["    committer.fail(errors.closing());\n", ""]],
    tests: [`${src}/faults/closed.test.ts`],
  },
  {
    name: "log-written-counts-after-failure",
    breaks: "What was written before an fsync failed does not count after it.",
    file: `${src}/journal/commit-loop.ts`,
    replace: [
      [
        "      if (this.#failure !== undefined) throw this.#failure;\n      this.#completeWeak",
        "      this.#completeWeak",
      ],
    ],
    tests: [failedDisk],
  },
  {
    name: "log-made-while-the-disk-fails",
    breaks: "A partition that is made while the disk fails is refused: nobody would tell it.",
    file: `${src}/manager.ts`,
    replace: [
      [
        "    this.#refuseWhenStopped();\n    const made = new Partition(",
        "    const made = new Partition(",
      ],
    ],
    tests: [`${src}/faults/failed-disk.test.ts`],
  },
  {
    name: "log-failed-start-leaves-offline",
    breaks: "An fsync that fails during a start is no damage of the partition.",
    file: `${src}/recovery/loader.ts`,
    replace: [["      if (context.committer.failure !== undefined) throw thrown;\n", ""]],
    tests: [failedDisk],
  },
];
