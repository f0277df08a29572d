import type { Mutant } from "../mutant.ts";

const store = "packages/metadata/src/embedded.ts";
const mirror = "packages/metadata/src/mirror.ts";
const tests = ["packages/metadata/src/store.test.ts"];

const generation = "packages/metadata/src/generation.ts";
const generationTests = ["packages/metadata/src/generation.test.ts"];

export const metadataMutants: readonly Mutant[] = [
  {
    name: "restored-epochs-not-raised",
    breaks: "A new generation begins above every leader epoch that may have been given.",
    file: generation,
    replace: [["record.leaderEpoch + epochsPerGeneration;", "record.leaderEpoch + 0;"]],
    tests: generationTests,
  },
  {
    name: "restored-epochs-raised-in-part",
    breaks: "The leader epochs of all partitions rise, in as many transactions as it takes.",
    file: generation,
    replace: [["at += operationsMax / 2) {", "at += partitions.length) {"]],
    tests: generationTests,
  },
  {
    name: "restored-epochs-raised-over-others",
    breaks: "What somebody else writes meanwhile is not written over.",
    file: generation,
    replace: [
      ["[unchanged(record), ...some.map(({ kv }) => unchanged(kv))]", "[unchanged(record)]"],
    ],
    tests: generationTests,
  },
  {
    name: "restored-epochs-past-the-last",
    breaks: "A leader epoch is never above the largest one.",
    file: generation,
    replace: [["    if (leaderEpoch > leaderEpochMax) return undefined;\n", ""]],
    tests: generationTests,
  },
  {
    name: "old-registration-taken-up",
    breaks: "A broker's epoch does not go back where a backup has its earlier registration.",
    file: "packages/metadata/src/registration.ts",
    replace: [["heldEpoch: () => this.#epoch", "heldEpoch: () => 0"]],
    tests: ["packages/metadata/src/registration.test.ts"],
  },
  {
    name: "old-registration-under-its-lease-taken-up",
    breaks: "An earlier registration from a backup is not taken up, also where its lease lives.",
    file: "packages/metadata/src/leased-key.ts",
    replace: [["kv.lease === this.#lease?.id || isOwn?.(kv) === true", "isOwn?.(kv) === null"]],
    tests: ["packages/metadata/src/registration.test.ts"],
  },
  {
    name: "compare-ignored",
    breaks: "A transaction is applied only when every compare holds.",
    file: store,
    replace: [["compares.every((compare) =>", "compares.some((compare) =>"]],
    tests,
  },
  {
    name: "compare-missing-key-holds",
    breaks: "A value compare of a missing key does not hold.",
    file: store,
    replace: [["return kv !== undefined && Buffer", "return kv === undefined || Buffer"]],
    tests,
  },
  {
    name: "visible-before-durable",
    breaks: "A change is durable before anybody sees it.",
    file: store,
    replace: [["await this.#persistence?.commit({ revision, puts, deletes });", ""]],
    tests,
  },
  {
    name: "failed-commit-goes-on",
    breaks: "After a commit of unknown outcome the store takes nothing more.",
    file: store,
    replace: [
      [
        "      throw unknownOutcome(what, thrown);\n    }\n    this.#revision = revision;",
        "    }\n    this.#revision = revision;",
      ],
    ],
    tests,
  },
  {
    name: "leased-keys-persisted",
    breaks: "Leased keys do not survive the process.",
    file: store,
    replace: [["kv !== undefined && kv.lease === undefined", "kv !== undefined"]],
    tests,
  },
  {
    name: "lease-never-expires",
    breaks: "A lease that is not kept alive takes its keys with it.",
    file: store,
    replace: [
      ["      this.revokeLease(id).catch(() => {", "      this.keepAlive(id).catch(() => {"],
    ],
    tests: ["packages/metadata/src/embedded.test.ts"],
  },
  {
    name: "keep-alive-does-nothing",
    breaks: "Keeping a lease alive resets its time.",
    file: store,
    replace: [
      [
        "      lease.cancel();\n      lease.cancel = this.#expiry(leaseId, lease.ttlSeconds * 1000);",
        "",
      ],
    ],
    tests: ["packages/metadata/src/embedded.test.ts"],
  },
  {
    name: "revoke-keeps-the-keys",
    breaks: "Revoking a lease deletes its keys.",
    file: store,
    replace: [
      ["(kv) => kv.lease === leaseId", "(kv) => kv.lease !== leaseId && kv.lease === leaseId"],
    ],
    tests,
  },
  {
    name: "watch-skips-its-first-revision",
    breaks: "A watch delivers every change from its revision on.",
    file: store,
    replace: [
      ["if (revision < watcher.next) continue;", "if (revision <= watcher.next) continue;"],
    ],
    tests: ["packages/metadata/src/embedded.test.ts"],
  },
  {
    name: "watch-repeats-a-revision",
    breaks: "A watch delivers every change once.",
    file: store,
    replace: [["watcher.next = revision + 1;", "watcher.next = revision;"]],
    tests: ["packages/metadata/src/embedded.test.ts"],
  },
  {
    name: "compacted-watch-goes-on",
    breaks: "A watch from before the compaction ends as compacted.",
    file: store,
    replace: [["if (watcher.next < this.#historyFrom) {", "if (watcher.next < 0) {"]],
    tests,
  },
  {
    name: "create-revision-reset",
    breaks: "A key keeps its create revision until it is deleted.",
    file: store,
    replace: [["previous?.createRevision ?? this.#revision + 1", "this.#revision + 1"]],
    tests,
  },
  {
    name: "past-read-off-by-one",
    breaks: "A read in the past sees what was there as of that revision.",
    file: store,
    replace: [["entry.revision <= revision) break;", "entry.revision < revision) break;"]],
    tests,
  },
  {
    name: "page-repeats-its-start",
    breaks: "A page starts after the key that it is asked to start after.",
    file: store,
    replace: [["Buffer.from(kv.key), after) > 0", "Buffer.from(kv.key), after) >= 0"]],
    tests,
  },
  {
    name: "transaction-limit-off-by-one",
    breaks: "A transaction has at most 128 operations, as in etcd.",
    file: "packages/metadata/src/limits.ts",
    replace: [["list.length > operationsMax", "list.length > operationsMax + 1"]],
    tests,
  },
  {
    name: "request-bytes-unbounded",
    breaks: "A request has at most 1.5 MiB, as in etcd.",
    file: "packages/metadata/src/limits.ts",
    replace: [["if (bytes > requestBytesMax) {", "if (bytes > 2 * requestBytesMax) {"]],
    tests,
  },
  {
    name: "key-put-twice",
    breaks: "A transaction puts a key at most once.",
    file: "packages/metadata/src/limits.ts",
    replace: [["if (put.has(operation.key)) {", "if (put.size < 0) {"]],
    tests,
  },
  {
    name: "value-under-another-key",
    breaks: "A value that belongs to another key is refused.",
    file: "packages/metadata/src/keys.ts",
    replace: [["if (key !== kv.key) throw", 'if (key === "") throw']],
    tests,
  },
  {
    name: "mirror-watches-from-the-next-but-one",
    breaks: "The mirror watches from the revision after its listing.",
    file: mirror,
    replace: [["this.#revision + 1, {", "this.#revision + 2, {"]],
    tests: ["packages/metadata/src/mirror.test.ts"],
  },
  {
    name: "mirror-keeps-deleted-keys",
    breaks: "A listing after a compaction tells of deletions, too.",
    file: "packages/metadata/src/listing.ts",
    replace: [["if (!kvs.has(kv.key)) events.push(", 'if (kv.key === "") events.push(']],
    tests: ["packages/metadata/src/mirror.test.ts"],
  },
  {
    name: "mirror-does-not-relist-after-compaction",
    breaks: "A watch that was compacted away is replaced by a listing.",
    file: mirror,
    replace: [
      ['if (end.reason === "lost" || this.#refusal !== undefined) {', "if (!this.#closed) {"],
      ['if (end.reason === "lost" && !this.#contradicts(', "if (!this.#contradicts("],
    ],
    tests: ["packages/metadata/src/mirror.test.ts"],
  },
  {
    name: "mirror-waits-for-ever",
    breaks: "Waiting for a revision is bounded.",
    file: mirror,
    replace: [
      ["clock.timer(timeoutMs, () => settle(false))", "clock.timer(2 ** 40, () => settle(false))"],
    ],
    tests: ["packages/metadata/src/mirror.test.ts"],
  },
];
