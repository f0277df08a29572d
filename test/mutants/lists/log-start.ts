/** What a start misses, gives up and leaves behind. */
import type { Mutant } from "../mutant.ts";

const src = "packages/log/src";
const starts = `${src}/faults/start.test.ts`;
const foreign = `${src}/faults/foreign.test.ts`;
const closed = `${src}/faults/closed.test.ts`;

export const starting: readonly Mutant[] = [
  {
    name: "log-journal-file-not-missed",
    breaks: "A journal that is gone after a crash is missed.",
    file: `${src}/journal/scan.ts`,
    replace: [["  if (missing) damagedUpTo = Number.POSITIVE_INFINITY;\n", ""]],
    tests: [starts],
  },
  {
    name: "log-journal-file-not-listed",
    breaks: "The newest file of the journal is missed, too.",
    file: `${src}/journal/journal.ts`,
    replace: [
      ["    await this.#list([...this.#files, made]);", "      await this.#list(this.#files);"],
    ],
    tests: [starts],
  },
  {
    name: "log-short-journal-file-not-missed",
    breaks: "A journal file that is shorter than it was is missed.",
    file: `${src}/journal/scan.ts`,
    replace: [
      [
        "    if (bytes !== Number(list.message.fileBytes)) return true;",
        "    if (!bytes) return true;",
      ],
    ],
    tests: [starts],
  },
  {
    name: "log-journal-not-listed-at-a-start",
    breaks: "A start lists the journal files that it takes over.",
    file: `${src}/journal/journal.ts`,
    replace: [["    else await this.#list(this.#files);\n", ""]],
    tests: [starts],
  },
  {
    name: "log-journal-removed-before-it-is-listed",
    breaks: "Journal files of another size are replaced, and nothing is missed.",
    file: `${src}/journal/journal.ts`,
    replace: [["      } else unusable.push(path);", "      } else await disk.unlink(path);"]],
    tests: [starts],
  },
  {
    name: "log-times-alone-not-seen",
    breaks: "A time index without its index is found at a start.",
    file: `${src}/segment/list.ts`,
    replace: [["files.some((file) => names.has(file))", "names.has(files[0])"]],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-empty-index-not-there",
    breaks: "Index files without a whole entry are cut at a start.",
    file: `${src}/segment/list.ts`,
    replace: [["      there: files.some((file) => names.has(file)),", "      there: false,"]],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-new-index-not-there",
    breaks: "The index files that this life of the process made are cut with their segment.",
    file: `${src}/segment/segment-index.ts`,
    replace: [["    this.#filesThere = true;\n", ""]],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-index-looked-for",
    breaks: "A start looks at no index that a segment does not have.",
    file: `${src}/recovery/segment-io.ts`,
    replace: [["  if (!index.filesThere) {", "  if (index.paths.length === 0) {"]],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-cut-index-not-pending",
    breaks: "What a start cuts off an index is gone, durably, before its recovery point moves.",
    file: `${src}/segment/files.ts`,
    replace: [["  index.filesCut();\n", ""]],
    tests: [`${src}/faults/index.test.ts`],
  },
  {
    name: "log-directory-not-listed-is-empty",
    breaks: "A partition whose directory cannot be listed is offline, and not empty.",
    file: `${src}/recovery/loader.ts`,
    replace: [["return `its directory", "return new Set() ?? `its directory"]],
    tests: [starts],
  },
  {
    name: "log-offline-file-not-seen",
    breaks: "An offline file is found by the names in the directory.",
    file: `${src}/files/offline-file.ts`,
    replace: [["if (!names.has(offlineName))", "if (names.has(offlineName))"]],
    tests: [`${src}/faults/offline.test.ts`],
  },
  {
    name: "log-tail-of-a-file-not-asked-for",
    breaks: "The bytes that a segment's file has are asked for.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["segment.created ? this.#fileBytes.get(segment) : 0", "0"]],
    tests: [`${src}/faults/evidence.test.ts`],
  },
  {
    name: "log-lost-points-cut",
    breaks: "Lost recovery points and an old truncation take nothing with them.",
    file: `${src}/recovery/after-crash.ts`,
    replace: [["      else if (pointsLost) await this.#refuseTail();\n", ""]],
    tests: [starts],
  },
  {
    name: "log-foreign-directory-believed",
    breaks: "A journal says nothing of a directory that came from a replica.",
    file: `${src}/recovery/loader.ts`,
    replace: [
      [
        "    if (!isForeign(meta, directoryId)) return meta;",
        '    if (directory !== "") return meta;',
      ],
    ],
    tests: [foreign],
  },
  {
    name: "log-adopted-directory-keeps-the-last-round",
    breaks: "Not even the last round says anything of a directory that came from a replica.",
    file: `${src}/recovery/loader.ts`,
    replace: [["plan?.lastRound ?? 0, coveredRound) + 1;", "plan?.lastRound ?? 0, coveredRound);"]],
    tests: [foreign],
  },
  {
    name: "log-hole-passed-over",
    breaks: "A segment that is gone is missed by lookups by time.",
    file: `${src}/segment/index-cache.ts`,
    replace: [
      [
        "          throw damaged(segment, scanner.position, lost);",
        '          if (lost === "") throw damaged(segment, scanner.position, lost);\n          return;',
      ],
    ],
    tests: [starts],
  },
  {
    name: "log-first-segment-passed-over",
    breaks: "A first segment that is gone is missed.",
    file: `${src}/recovery/loader.ts`,
    replace: [["      if (first > partition.logStartOffset)", "      if (first < 0)"]],
    tests: [starts],
  },
  {
    name: "log-reserve-unknown-at-a-start",
    breaks: "A start on a full disk takes the room of the reserve file.",
    file: `${src}/files/disk-space.ts`,
    replace: [["  #hasFile = true;", "  #hasFile = false;"]],
    tests: [starts],
  },
  {
    name: "log-failed-start-keeps-files-open",
    breaks: "A start that fails leaves no file open.",
    file: `${src}/open.ts`,
    replace: [["    await files.closeAll();\n    throw thrown;", "    throw thrown;"]],
    tests: [starts],
  },
  {
    name: "log-unreadable-marker-keeps-closed",
    breaks: "A clean marker that cannot be read does not keep the directory closed.",
    file: `${src}/files/checksummed-file.ts`,
    replace: [
      ["    if (isPassing(thrown)) throw thrown;", "    if (thrown !== undefined) throw thrown;"],
    ],
    tests: [starts],
  },
  {
    name: "log-read-beside-a-stop-keeps-a-file-open",
    breaks: "A read beside a stop, or behind it, leaves no file open.",
    file: `${src}/files/file-cache.ts`,
    replace: [["    this.#closed = true;\n", ""]],
    tests: [closed],
  },
  {
    name: "log-second-stop-does-not-wait",
    breaks: "A second stop resolves when the first one is over.",
    file: `${src}/manager.ts`,
    replace: [
      [
        "    return this.#stopping;",
        "    return this.#closed ? Promise.resolve() : this.#stopping;",
      ],
    ],
    tests: [closed],
  },
  {
    name: "log-removal-runs-behind-a-stop",
    breaks: "Nothing is removed behind a stop that began before it.",
    file: `${src}/files/delayed-tasks.ts`,
    replace: [["    await Promise.all(this.#running);\n", ""]],
    tests: [closed],
  },
  {
    name: "log-removal-begins-behind-a-stop",
    breaks: "Nothing is removed behind a stop that would begin after it.",
    file: `${src}/files/delayed-tasks.ts`,
    replace: [["    if (this.#closed) return;\n", ""]],
    tests: [closed],
  },
  {
    name: "log-start-journal-unreadable",
    breaks: "A journal that cannot be read takes no partition offline.",
    file: "packages/log/src/recovery/loader.ts",
    replace: [["if (thrown instanceof JournalUnreadable) {", "if (thrown === undefined) {"]],
    tests: ["packages/log/src/faults/start.test.ts"],
  },
];
