import type { Mutant } from "../mutant.ts";

const mirror = "packages/metadata/src/mirror.ts";
const ofMirror = ["packages/metadata/src/mirror.test.ts"];
const store = "packages/metadata/src/cluster-store.ts";
const ofStore = ["packages/metadata/src/cluster-store.test.ts"];
const ofProcesses = ["services/broker/src/process/foreign-store.test.ts"];

/** A metadata store that is not the cluster's is one that is down. */
export const foreignStoreMutants: readonly Mutant[] = [
  {
    name: "foreign-watch-is-taken-up",
    breaks: "What a watch tells of a store without the cluster's record is not taken up.",
    file: mirror,
    replace: [
      [
        'if (record !== undefined && this.#refuses(record.type === "put" ? record.kv : undefined)) {',
        "if (record === null) {",
      ],
    ],
    tests: ofMirror,
  },
  {
    name: "foreign-deletion-is-taken-up",
    breaks: "A record that is deleted under a watch is refused, as another cluster's is.",
    file: mirror,
    replace: [
      [
        'this.#refuses(record.type === "put" ? record.kv : undefined)',
        "this.#refuses(this.#kvs.get(keys.cluster))",
      ],
    ],
    tests: ofMirror,
  },
  {
    name: "foreign-listing-is-taken-up",
    breaks: "A listing of a store without the cluster's record does not replace the copy.",
    file: mirror,
    replace: [
      ['      if (this.#refuses(found.kvs.get(keys.cluster))) return "refused";\n', ""],
      [
        'return this.#refuses(listing.kvs.get(keys.cluster)) ? "refused" : listing;',
        "return listing;",
      ],
    ],
    tests: ofMirror,
  },
  {
    name: "foreign-store-listed-again-and-again",
    breaks: "A store that is refused is asked for its record alone.",
    file: mirror,
    replace: [['      if (this.#refuses(found.kvs.get(keys.cluster))) return "refused";\n', ""]],
    tests: ofMirror,
  },
  {
    name: "foreign-safety-listing-is-taken-up",
    breaks: "A safety listing of another cluster's store does not correct the copy.",
    file: mirror,
    replace: [
      [
        "    if (this.#refuses(listing.kvs.get(keys.cluster))) {\n      this.#leave();\n      return;\n    }\n",
        "",
      ],
    ],
    tests: ofMirror,
  },
  {
    name: "foreign-first-listing-is-taken-up",
    breaks: "A mirror that knows its cluster does not begin with another one's store.",
    file: mirror,
    replace: [
      [
        "if (expected !== undefined && clusterIdIn(record) !== expected) {",
        "if (expected === null) {",
      ],
    ],
    tests: ofMirror,
  },
  {
    name: "foreign-cluster-never-learned",
    breaks: "A mirror knows its cluster from the first record that it reads.",
    file: mirror,
    replace: [["    this.#clusterId ??= clusterIdIn(this.#kvs.get(keys.cluster));\n", ""]],
    tests: ofMirror,
  },
  {
    name: "foreign-store-told-at-every-look",
    breaks: "A store that is refused is told once.",
    file: mirror,
    replace: [["if (this.#refusal !== message) {", 'if (message !== "") {']],
    tests: ofMirror,
  },
  {
    name: "foreign-store-counted-never",
    breaks: "Refused reads are counted.",
    file: mirror,
    replace: [["    observer?.refused();\n", ""]],
    tests: ofMirror,
  },
  {
    name: "foreign-changes-passed-over",
    breaks: "When the record is back, what was passed over is read.",
    file: mirror,
    replace: [
      ['this.#retry({ reason: "diverged", error });', 'this.#retry({ reason: "lost", error });'],
    ],
    tests: ofMirror,
  },
  {
    name: "foreign-store-is-written",
    breaks: "A transaction holds only with the cluster's record.",
    file: store,
    replace: [["[isOurs, ...compares], then", "compares, then"]],
    tests: ofStore,
  },
  {
    name: "foreign-record-is-believed",
    breaks: "The record must be this cluster's.",
    file: store,
    replace: [
      ["if (kv === undefined || clusterIdIn(kv) !== this.clusterId) {", "if (kv === undefined) {"],
    ],
    tests: ofStore,
  },
  {
    name: "foreign-second-branch-writes",
    breaks: "Nothing is written to another cluster's store because a condition failed.",
    file: store,
    replace: [['otherwise.some(({ type }) => type !== "range")', "otherwise.length > 128"]],
    tests: ofStore,
  },
  {
    name: "foreign-page-is-read",
    breaks: "A page of another cluster's store is not read.",
    file: store,
    replace: [["    await this.#check(call);\n", ""]],
    tests: ofStore,
  },
  {
    name: "foreign-store-ends-leases",
    breaks: "A lease that another store does not know has not ended.",
    file: store,
    replace: [["    await this.#check(options);\n    return false;", "    return false;"]],
    tests: ofStore,
  },
  {
    name: "changed-record-refuses",
    breaks: "A record that changes, and stays the cluster's, refuses nothing.",
    file: store,
    replace: [
      [
        "return this.txn(compares, then, otherwise, options);",
        "throw foreignStore(this.clusterId, undefined);",
      ],
    ],
    tests: ofStore,
  },
  {
    name: "record-read-for-every-call",
    breaks: "The check costs no call.",
    file: store,
    replace: [["    this.#record = kv.value;\n", ""]],
    tests: ofStore,
  },
  {
    name: "reads-sent-as-writes",
    breaks: "A transaction that only reads goes to the next server when one does not answer.",
    file: "packages/metadata/src/etcd/store.ts",
    replace: [
      [
        "const isRead = [...then, ...otherwise].every(",
        "const isRead = then.length < 0 && then.every(",
      ],
    ],
    tests: ["packages/metadata/src/etcd/store.test.ts"],
  },
  {
    name: "writes-sent-as-reads",
    breaks: "A transaction that writes in one of its branches is sent once.",
    file: "packages/metadata/src/etcd/store.ts",
    replace: [["const isRead = [...then, ...otherwise].every(", "const isRead = then.every("]],
    tests: ["packages/metadata/src/etcd/store.test.ts"],
  },
  {
    name: "generation-without-a-cluster",
    breaks: "Only a store with the record of a cluster gets another generation.",
    file: "packages/metadata/src/generation.ts",
    replace: [
      [
        "const record = kvs.get(keys.cluster);",
        "const record = kvs.get(keys.cluster) ?? kvs.values().next().value;",
      ],
    ],
    tests: ofMirror,
  },
  {
    name: "generation-of-another-cluster",
    breaks: "Where the cluster is named, only its store gets another generation.",
    file: "services/controller/src/process/renew-generation.ts",
    replace: [
      [
        "      : await requireCluster(store, wantedId);",
        "      : (await clusterOf(store))?.clusterId;",
      ],
    ],
    tests: ["services/controller/src/process/renew-generation.test.ts"],
  },
  {
    name: "required-cluster-is-any",
    breaks: "A process that knows its cluster waits for the record of that one.",
    file: "packages/metadata/src/cluster.ts",
    replace: [
      [
        "if (kv === undefined || clusterIdIn(kv) !== clusterId) throw",
        "if (kv === undefined) throw",
      ],
    ],
    tests: ofProcesses,
  },
  {
    name: "broker-writes-to-any-store",
    breaks: "A broker writes to no store but its cluster's.",
    file: "services/broker/src/process/boot.ts",
    replace: [
      ["const store = new ClusterStore(options.store, clusterId);", "const { store } = options;"],
    ],
    tests: ofProcesses,
  },
  {
    name: "controller-writes-to-any-store",
    breaks: "A controller writes to no store but its cluster's.",
    file: "services/controller/src/process/boot.ts",
    replace: [
      ["const store = new ClusterStore(options.store, clusterId);", "const { store } = options;"],
    ],
    tests: ofProcesses,
  },
  {
    name: "disk-names-no-cluster",
    breaks: "A broker knows its cluster from its data directory.",
    file: "services/broker/src/process/boot.ts",
    replace: [
      ["options.wantedClusterId ?? (await clusterIdOnDisk(env.disk))", "options.wantedClusterId"],
    ],
    tests: ofProcesses,
  },
  {
    name: "controller-makes-a-second-cluster",
    breaks: "A controller that knows its cluster makes no other one.",
    file: "services/controller/src/process/boot.ts",
    replace: [
      [
        "    : requireCluster(store, wantedClusterId);",
        "    : bootstrapCluster(store, env.random, wantedClusterId);",
      ],
    ],
    tests: ofProcesses,
  },
  {
    name: "cluster-made-among-remains",
    breaks: "A cluster begins only in an empty store.",
    file: "services/controller/src/bootstrap.ts",
    replace: [
      ["if (known === undefined && (await hasMetadata(store))) {", "if (known === null) {"],
    ],
    tests: ofProcesses,
  },
  {
    name: "controller-forgets-its-cluster",
    breaks: "A controller's directory remembers its cluster.",
    file: "packages/server/src/node/cluster-id.ts",
    replace: [["return set || known;", "return set || undefined;"]],
    tests: ["packages/server/src/node/cluster-id.test.ts"],
  },
  {
    name: "setting-overrules-the-directory",
    breaks: "A setting names no other cluster than the directory.",
    file: "packages/server/src/node/cluster-id.ts",
    replace: [
      [
        'if (set === "" || known === undefined || set === known) return',
        "if (set !== known || set === known) return",
      ],
    ],
    tests: ["packages/server/src/node/cluster-id.test.ts"],
  },
  {
    name: "supervisor-names-no-cluster",
    breaks: "`npm run cluster` tells its processes which cluster they are of.",
    file: "tools/cluster/supervisor.ts",
    replace: [['one.role === "etcd" || this.#clusterId === ""', 'one.role !== "etcd"']],
    tests: ["tools/cluster/supervisor.test.ts"],
  },
  {
    name: "election-failure-told-at-every-attempt",
    breaks: "An election that cannot be held is told once for each reason.",
    file: "services/controller/src/election.ts",
    replace: [["if (this.failure !== err.message) {", "if (err !== undefined) {"]],
    tests: ["services/controller/src/election.test.ts"],
  },
  {
    name: "damaged-topic-loses-its-partitions",
    breaks: "A damaged record of a topic leaves the topic as it was, and its partitions go on.",
    file: "services/broker/src/metadata/mirror.ts",
    replace: [
      [
        'const record = type === "put" ? decodeRecord.topic(kv) : undefined;\n    const old = this.#records.get(name);',
        "const old = this.#records.get(name);\n    this.#names.delete(topicIdOf(old?.topicId ?? new Uint8Array(16)));\n" +
          '    const record = type === "put" ? decodeRecord.topic(kv) : undefined;',
      ],
    ],
    tests: ["services/broker/src/metadata/mirror.test.ts"],
  },
  {
    name: "damaged-intent-throws-in-the-mirror",
    breaks: "An intent that cannot be read is told, and none.",
    file: "services/broker/src/process/decommissioned.ts",
    replace: [
      [
        '"a metadata value is refused");\n      return;',
        '"a metadata value is refused");\n      throw thrown;',
      ],
    ],
    tests: ["services/broker/src/process/hostile-peers.test.ts"],
  },
  {
    name: "damaged-topic-ends-the-start",
    breaks: "A broker starts with a topic that it cannot read.",
    file: "services/broker/src/process/parts.ts",
    replace: [
      [
        '      logger.error({ key: kv.key, err }, "a metadata value is refused");\n',
        "      throw err;\n",
      ],
    ],
    tests: ["services/broker/src/process/hostile-peers.test.ts"],
  },
];
