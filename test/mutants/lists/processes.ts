/** Mutants of processes: their life, their start, and what they ask of etcd. */
import type { Mutant } from "../mutant.ts";

const server = "packages/server/src/";
const broker = "services/broker/src/process/";
const controller = "services/controller/src/process/";
const brokerBoots = [`${broker}boot.test.ts`];
const controllerBoots = [`${controller}boot.test.ts`];
const lives = [`${server}node/run.test.ts`];
const servers = [`${server}node/server.test.ts`];
const stores = [`${server}node/etcd.test.ts`];
const addresses = [`${server}node/address.test.ts`];
const waits = [`${server}patience.test.ts`];

const lifeMutants: readonly Mutant[] = [
  {
    name: "setting-that-must-be-set-is-not",
    breaks: "A start without a setting that has no default is refused.",
    file: "packages/config/src/schema.ts",
    replace: [["      if (setting.default === undefined) throw missing(key, setting);\n", ""]],
    tests: ["packages/config/src/config.test.ts"],
  },
  {
    name: "process-stopped-while-it-starts-fails",
    breaks: "A signal that ends a start is no failure.",
    file: `${server}node/run.ts`,
    replace: [
      [
        "if (!stop.signal.aborted || !hasCode(thrown, ErrorCode.CANCELLED)) {",
        "if (thrown !== undefined) {",
      ],
    ],
    tests: lives,
  },
  {
    name: "process-hides-a-failed-start",
    breaks: "A start that fails is a failure, also when a signal has come.",
    file: `${server}node/run.ts`,
    replace: [
      [
        "if (!stop.signal.aborted || !hasCode(thrown, ErrorCode.CANCELLED)) {",
        "if (!stop.signal.aborted) {",
      ],
    ],
    tests: lives,
  },
  {
    name: "process-wrong-settings-exit-one",
    breaks: "Wrong settings end a start with exit code 2.",
    file: `${server}node/run.ts`,
    replace: [["return error.code === ErrorCode.INVALID_CONFIG ? 2 : 1;", "return 1;"]],
    tests: lives,
  },
  {
    name: "process-port-without-flag",
    breaks: "Of a port that is in use, the flag is named.",
    file: `${server}node/run.ts`,
    replace: [["throw withListenFlag(thrown, resolved.values);", "throw thrown;"]],
    tests: lives,
  },
  {
    name: "process-leaves-its-server",
    breaks: "A signal stops the server before the process ends.",
    file: `${server}node/run.ts`,
    replace: [["  await server.stop();\n", ""]],
    tests: lives,
  },
  {
    name: "readiness-does-not-say-why",
    breaks: "A process that waits says for what.",
    file: `${server}node/server.ts`,
    replace: [["    this.#reason = reason;\n", "    void reason;\n"]],
    tests: servers,
  },
  {
    name: "server-shares-its-directory",
    breaks: "A directory belongs to one process at a time.",
    file: `${server}node/server.ts`,
    replace: [["      undo.add(lockDirectory(directory));\n", ""]],
    tests: servers,
  },
  {
    name: "server-tells-no-endpoints",
    breaks: "Scripts find a server by its endpoints.json.",
    file: `${server}node/server.ts`,
    replace: [["    if (directory !== undefined) writeEndpoints(directory, endpoints);\n", ""]],
    tests: servers,
  },
  {
    name: "server-keeps-serving-http",
    breaks: "A server that has stopped answers nothing.",
    file: `${server}node/server.ts`,
    replace: [["    undo.add(() => http.close());\n", ""]],
    tests: servers,
  },
];

const addressMutants: readonly Mutant[] = [
  {
    name: "processes-told-the-address-of-clients",
    breaks: "The cluster's processes are told an address of their own.",
    file: `${server}node/address.ts`,
    replace: [
      ['    config["internal-advertise"],\n    internal,', "    config.advertise,\n    internal,"],
    ],
    tests: addresses,
  },
  {
    name: "internal-wildcard-advertised",
    breaks: "--internal-advertise takes no wildcard and no port 0.",
    file: `${server}node/address.ts`,
    replace: [
      ["  checkOne(internal, config[internal], listening, config[listening], isContainer);\n", ""],
    ],
    tests: addresses,
  },
];

const etcdMutants: readonly Mutant[] = [
  {
    name: "etcd-prefix-without-an-end",
    breaks: "The keys of one cluster do not begin as those of another one.",
    file: `${server}node/etcd-settings.ts`,
    replace: [["/^[\\x21-\\x7e]{1,99}\\/$/", "/^[\\x21-\\x7e]{1,99}$/"]],
    tests: stores,
  },
  {
    name: "etcd-certificate-not-shown",
    breaks: "A certificate that would not be shown is refused.",
    file: `${server}node/etcd.ts`,
    replace: [
      [
        "if (ca === undefined && certificate !== undefined) {",
        "if (ca === undefined && key === null) {",
      ],
    ],
    tests: stores,
  },
  {
    name: "etcd-user-without-a-password",
    breaks: "A user and its password are set together.",
    file: `${server}node/etcd.ts`,
    replace: [
      [
        'if ((user === "") !== (password === undefined)) {',
        'if (user === "" && password !== undefined) {',
      ],
    ],
    tests: stores,
  },
  {
    name: "start-gives-up-on-a-silent-store",
    breaks: "A start waits over errors that pass.",
    file: `${server}patience.ts`,
    replace: [["      if (!err.spec.retriable) throw thrown;\n", "      throw thrown;\n"]],
    tests: [...waits, ...controllerBoots],
  },
  {
    name: "start-waits-over-errors-that-last",
    breaks: "A start ends with an error that will not pass.",
    file: `${server}patience.ts`,
    replace: [
      ["if (!err.spec.retriable) throw thrown;", "if (err.spec.name === thrown) throw thrown;"],
    ],
    tests: waits,
  },
  {
    name: "start-begins-after-its-end",
    breaks: "A start that was ended asks no more.",
    file: `${server}patience.ts`,
    replace: [["    signal?.throwIfAborted();\n", ""]],
    tests: waits,
  },
];

const bootMutants: readonly Mutant[] = [
  {
    name: "broker-registers-after-its-end",
    breaks: "A broker that is stopped does not go on waiting for its id.",
    file: `${broker}parts.ts`,
    replace: [['  signal?.addEventListener("abort", end, { once: true });\n', ""]],
    tests: brokerBoots,
  },
  {
    name: "broker-tells-no-address",
    breaks: "A broker is registered with its addresses.",
    file: `${broker}boot.ts`,
    replace: [["  await registration.update(options.advertise(endpoints));\n", ""]],
    tests: brokerBoots,
  },
  {
    name: "broker-hides-its-rack",
    breaks: "A broker is registered with its rack.",
    file: `${broker}parts.ts`,
    replace: [["incarnationId: random.bytes(16), rack }", "incarnationId: random.bytes(16) }"]],
    tests: brokerBoots,
  },
  {
    name: "broker-belongs-to-any-cluster",
    breaks: "A broker belongs to the cluster whose record it has read.",
    file: `${broker}cluster.ts`,
    replace: [["  return clusterId;\n", '  return clusterId === "" ? clusterId : "c";\n']],
    tests: brokerBoots,
  },
  {
    name: "controller-default-without-a-bound",
    breaks: "A default replication factor asks for no more replicas than there are brokers.",
    file: `${controller}boot.ts`,
    replace: [
      [
        "Math.max(1, Math.min(brokers, options.defaultReplicationFactor))",
        "Math.max(brokers, options.defaultReplicationFactor)",
      ],
    ],
    tests: brokerBoots,
  },
  {
    name: "controller-tells-no-address",
    breaks: "Brokers and clients find the active controller by its record.",
    file: `${controller}boot.ts`,
    replace: [["  await active.announce(options.advertise(endpoints));\n", ""]],
    tests: controllerBoots,
  },
];

const copy = "services/standalone/src/to-cluster/copy.ts";
const copies = ["services/standalone/src/to-cluster/copy.test.ts"];

const toClusterMutants: readonly Mutant[] = [
  {
    name: "to-cluster-keeps-broker-epochs",
    breaks: "No ISR names a registration that the new store has yet to give.",
    file: copy,
    replace: [["record.isr.map(() => 0n)", "record.isrBrokerEpochs"]],
    tests: copies,
  },
  {
    name: "to-cluster-over-another-cluster",
    breaks: "A store that holds another cluster is refused.",
    file: copy,
    replace: [
      ["  if (present !== undefined) throw isAnothers(present.clusterId);\n", ""],
      ["(await to.txn([absent], operations))", "(await to.txn([], operations))"],
    ],
    tests: copies,
  },
  {
    name: "to-cluster-over-other-topics",
    breaks: "A store that holds other metadata is refused.",
    file: copy,
    replace: [["  await checkEmpty(to, wanted);\n", ""]],
    tests: copies,
  },
  {
    name: "to-cluster-with-a-race",
    breaks: "A cluster that begins during the copy stops it.",
    file: copy,
    replace: [["(await to.txn([absent], operations))", "(await to.txn([], operations))"]],
    tests: copies,
  },
  {
    name: "to-cluster-record-first",
    breaks: "Nobody uses the store before it is complete.",
    file: copy,
    replace: [
      ["  for (let at = 0;", "  await write(to, last);\n  for (let at = 0;"],
      ["  await write(to, last);\n  return", "  return"],
      ["(await to.txn([absent], operations))", "(await to.txn([], operations))"],
    ],
    tests: copies,
  },
  {
    name: "to-cluster-keeps-the-generation",
    breaks: "The store of the cluster is another one than that of the server.",
    file: copy,
    replace: [
      ["  key === keys.generation ||\n", ""],
      ["    putGeneration(newGeneration(random)),\n", ""],
    ],
    tests: copies,
  },
  {
    name: "to-cluster-copies-tokens",
    breaks: "What belongs to a process is not copied.",
    file: copy,
    replace: [["  key.startsWith(keys.tokens) ||\n", ""]],
    tests: copies,
  },
  {
    name: "to-cluster-standalone-comes-back",
    breaks: "No standalone server starts on the directory any more.",
    file: "services/standalone/src/to-cluster/move.ts",
    replace: [["    take(directory);\n", ""]],
    tests: ["services/standalone/src/to-cluster/move.test.ts"],
  },
  {
    name: "to-cluster-log-stays-behind",
    breaks: "SQLite plays no log of the old metadata into the file of another server.",
    file: "services/standalone/src/to-cluster/move.ts",
    replace: [["      await from.close();\n", "      void from.close();\n"]],
    tests: ["services/standalone/src/to-cluster/move.test.ts"],
  },
  {
    name: "to-cluster-without-a-lock",
    breaks: "A directory that a server uses is refused.",
    file: "services/standalone/src/to-cluster/move.ts",
    replace: [["lockDirectory(directory)", "(() => () => {})()"]],
    tests: ["services/standalone/src/to-cluster/move.test.ts"],
  },
];

export const processMutants: readonly Mutant[] = [
  ...toClusterMutants,
  ...lifeMutants,
  ...addressMutants,
  ...etcdMutants,
  ...bootMutants,
];
