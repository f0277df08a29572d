/** Mutants of maintenance leases. */
import type { Mutant } from "../mutant.ts";

const at = "services/controller/src/";
const judge = `${at}maintenance/judge.ts`;
const grant = `${at}maintenance/grant.ts`;
const handlers = `${at}maintenance/handlers.ts`;
const watch = `${at}maintenance/watch.ts`;
const tests = [`${at}maintenance/handlers.test.ts`];
const races = [`${at}maintenance/race.test.ts`];
const model = [`${at}maintenance/model.property.test.ts`];
const planned = [`${at}maintenance/planned-changes.test.ts`];

/** What is in the way. */
const judging: readonly Mutant[] = [
  {
    name: "maintenance-below-min-isr",
    breaks: "A restart leaves min.insync.replicas of every partition in sync.",
    file: judge,
    replace: [
      ["    if (staying.length >= min) continue;", "    if (staying.length + 1 >= min) continue;"],
    ],
    tests,
  },
  {
    name: "maintenance-counts-earlier-lives",
    breaks: "A replica that has registered anew is not in sync.",
    file: judge,
    replace: [
      ["BigInt(brokers.get(id) ?? -1) === isrBrokerEpochs[i] &&", "brokers.has(id) && i >= 0 &&"],
    ],
    tests: [`${at}maintenance/judge.test.ts`],
  },
  {
    name: "maintenance-counts-who-stops",
    breaks: "A broker that is about to stop does not stay.",
    file: judge,
    replace: [["      !shuttingDown.has(id) &&\n", "      shuttingDown.size >= 0 &&\n"]],
    tests,
  },
  {
    name: "maintenance-of-many",
    breaks: "One broker at a time is in maintenance.",
    file: judge,
    replace: [
      [
        "  if (isBeside && others.length < perRackMax) return [];",
        "  if (perRackMax > 0) return [];",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-across-racks",
    breaks: "Brokers of several racks are never in maintenance together.",
    file: judge,
    replace: [["if (isBeside && others", "if (others"]],
    tests,
  },
  {
    name: "maintenance-forgets-racks",
    breaks: "The rack of a broker that is away is known.",
    file: handlers,
    replace: [
      [
        'rack: state.racks.get(brokerId) ?? before?.record.rack ?? "",',
        'rack: before?.record.rack ?? "",',
      ],
    ],
    tests,
  },
  {
    name: "maintenance-twice-in-a-partition",
    breaks: "Of the replicas of a partition one at most is in maintenance.",
    file: judge,
    replace: [
      [
        "  if (other === undefined) return [];",
        "  if (other === undefined || name.topic !== '') return [];",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-of-a-broker-that-is-down",
    breaks: "A broker that is down may be restarted, whatever is in sync.",
    file: judge,
    replace: [["  if (!state.brokers.has(brokerId)) return { blockers, unavailable };\n", ""]],
    tests,
  },
  {
    name: "maintenance-allows-too-much",
    breaks: "A partition that can spare a replica is not let down.",
    file: judge,
    replace: [
      ["else if (staying.length >= most) unavailable", "else if (staying.length > 0) unavailable"],
    ],
    tests,
  },
  {
    name: "maintenance-disk-of-the-elr",
    breaks: "A replica in the ELR counts on its disk.",
    file: judge,
    replace: [[" || elr.includes(brokerId));", " || elr.length > 9);"]],
    tests,
  },
  {
    name: "maintenance-disk-in-use",
    breaks: "A disk that its broker runs on is not deleted.",
    file: judge,
    replace: [
      [
        "  if (brokers.has(brokerId) && Buffer.compare(used",
        "  if (brokers.size > 99 && Buffer.compare(used",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-last-copy",
    breaks: "Somebody else is complete before a disk is deleted.",
    file: judge,
    replace: [["if (staying.length < least) blockers", "if (least < 0) blockers"]],
    tests,
  },
  {
    name: "maintenance-removes-who-stays",
    breaks: "Only a broker that is decommissioned is removed.",
    file: judge,
    replace: [
      [
        "  if (isDecommissioned(state, wanted)) return blockers;",
        "  if (isDecommissioned(state, wanted) || brokerId > 0) return blockers;",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-removes-with-replicas",
    breaks: "A broker that a partition names is not removed.",
    file: judge,
    replace: [
      [
        "  if (isDecommissioned(state, wanted)) return blockers;",
        "  if (isDecommissioned(state, wanted)) return [];",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-drains-for-ever",
    breaks: "A drain begins only where others can take the replicas.",
    file: judge,
    replace: [[" || replicas.length <= others) return [];", " || others >= 0) return [];"]],
    tests,
  },
  {
    name: "maintenance-beside-unreadable-metadata",
    breaks: "Nothing is granted while metadata cannot be read.",
    file: judge,
    replace: [["  if (state.unreadable.size > 0) {", "  if (state.unreadable.size > 9) {"]],
    tests: [`${at}maintenance/judge.test.ts`],
  },
  {
    name: "maintenance-wrong-disk",
    breaks: "While a broker is down none of its disks is deleted that may count.",
    file: judge,
    replace: [["(isIt || !isRegistered) && (isr", "isIt && (isr"]],
    tests,
  },
  {
    name: "maintenance-waits-for-who-is-gone",
    breaks: "Nobody waits for a broker that was decommissioned meanwhile.",
    file: judge,
    replace: [["    if (isGone(state, brokerId)) return [];\n", ""]],
    tests,
  },
  {
    name: "maintenance-unreadable-stays",
    breaks: "A lease that cannot be read is forced away.",
    file: handlers,
    replace: [
      [
        "if (lease === undefined && !look.state.unreadable.has(key)) return",
        "if (lease === undefined) return",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-back-when-registered",
    breaks: "A broker is back once it is in sync.",
    file: judge,
    replace: [
      [
        "if (topic === undefined || isInSync ||",
        "if (topic === undefined || isInSync || epoch > 0 ||",
      ],
    ],
    tests,
  },
];

/** The transaction. */
const granting: readonly Mutant[] = [
  {
    name: "maintenance-grant-by-old-isr",
    breaks: "A grant is judged by the present ISRs.",
    file: grant,
    replace: [["  notPutSince(keys.partitions, revision),\n", ""]],
    tests: races,
  },
  {
    name: "maintenance-grant-by-old-topics",
    breaks: "A grant is judged by the present min.insync.replicas.",
    file: grant,
    replace: [["  notPutSince(keys.topics, revision),\n", ""]],
    tests: races,
  },
  {
    name: "maintenance-grant-by-old-leases",
    breaks: "Two holders never get brokers at one moment.",
    file: grant,
    replace: [["  notPutSince(keys.maintenanceLeases, revision),\n", ""]],
    tests: [...races, ...model],
  },
  {
    name: "maintenance-grant-by-old-registration",
    breaks: "A grant is about the registration that was judged.",
    file: grant,
    replace: [
      [
        '  { key: keys.broker(brokerId), target: "createRevision", equals: registered.epoch },\n',
        "",
      ],
    ],
    tests: races,
  },
  {
    name: "maintenance-grant-by-old-intents",
    breaks: "A grant is judged by the present intents.",
    file: grant,
    replace: [
      [
        "  unchangedPlacement(placement),\n];",
        "  ...(placement.revision < 0 ? [unchangedPlacement(placement)] : []),\n];",
      ],
    ],
    tests: races,
  },
  {
    name: "maintenance-renewal-by-old-isr",
    breaks: "A renewal says by the present ISRs whether its holder may act.",
    file: handlers,
    replace: [["const judged = mayAct ? asJudged", "const judged = !mayAct ? asJudged"]],
    tests: races,
  },
  {
    name: "maintenance-directory-lives-on",
    breaks: "A directory that may be deleted is given up for good.",
    file: grant,
    replace: [
      [
        "  const retiredDirectoryIds = [...before.retiredDirectoryIds, directoryId];",
        "  const retiredDirectoryIds = [...before.retiredDirectoryIds];",
      ],
    ],
    tests: model,
  },
  {
    name: "maintenance-directory-admitted",
    breaks: "A broker with a directory that was given up is none.",
    file: `${at}cluster-state.ts`,
    replace: [["    if (isRetired(this.#intents.get(brokerId), directoryId)) return;\n", ""]],
    tests: [...tests, ...model],
  },
  {
    name: "maintenance-directory-admitted-before",
    breaks: "A broker is none from the moment when its directory is given up.",
    file: `${at}cluster-state.ts`,
    replace: [
      [
        "      this.#intents.set(record.brokerId, record);\n      this.#admit(record.brokerId);\n",
        "      this.#intents.set(record.brokerId, record);\n",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-directory-forgotten",
    breaks: "No intent takes back that a directory was given up.",
    file: `${at}brokers.ts`,
    replace: [
      [
        "placement.intents.get(brokerId)?.retiredDirectoryIds ?? [];",
        "placement.intents.get(-1)?.retiredDirectoryIds ?? [];",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-directory-elected",
    breaks: "Nobody is elected with a directory that was given up.",
    file: `${at}elect-leader.ts`,
    replace: [
      [
        "!isRetired(placement.intents.get(brokerId), directoryId)",
        "brokerId >= 0 && directoryId.length >= 0",
      ],
    ],
    tests: planned,
  },
  {
    name: "maintenance-directory-started",
    breaks: "A broker does not start with a directory that was given up.",
    file: "services/broker/src/process/decommissioned.ts",
    replace: [
      [
        "  if (retiredDirectoryIds.some((id) => isSame(id, directoryId))) return true;\n",
        "  if (retiredDirectoryIds.length > 99) return true;\n",
      ],
    ],
    tests: ["services/broker/src/process/decommissioned.test.ts"],
  },
  {
    name: "maintenance-directory-placed-on",
    breaks: "What is being placed when a directory is given up is decided anew.",
    file: grant,
    replace: [['    { type: "put", key: keys.placement, value: new Uint8Array(0) },\n', ""]],
    tests,
  },
  {
    name: "maintenance-grant-untold",
    breaks: "What is planned when a lease is granted is decided anew.",
    file: grant,
    replace: [['    { type: "put", key: keys.maintenance, value: new Uint8Array(0) },\n', ""]],
    tests,
  },
];

/** The life of a lease. */
const keeping: readonly Mutant[] = [
  {
    name: "maintenance-run-out-is-renewed",
    breaks: "Nobody acts under a lease that has run out.",
    file: handlers,
    replace: [['      if (look.leftMs === 0) throw lost(brokerId, token, "has run out");\n', ""]],
    tests,
  },
  {
    name: "maintenance-any-token",
    breaks: "Only the holder of the last grant acts.",
    file: handlers,
    replace: [
      ["  if (BigInt(lease.token) === token) return lease;", "  if (token >= 0n) return lease;"],
    ],
    tests,
  },
  {
    name: "maintenance-held-twice",
    breaks: "A lease that somebody holds is not given to others.",
    file: handlers,
    replace: [
      [
        "leftMs === 0 || lease.record.holder === wanted.holder) {",
        "leftMs >= 0 || lease.record.holder === wanted.holder) {",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-of-an-earlier-life",
    breaks: "A caller with a stale view of the broker gets no lease.",
    file: handlers,
    replace: [
      [
        "if (brokerEpoch === undefined || brokerEpoch === epoch) return;",
        "if (brokerEpoch === undefined || epoch >= 0) return;",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-of-the-next-life",
    breaks: "A lease is about one registration.",
    file: handlers,
    replace: [["    if (BigInt(epoch) === record.brokerEpoch) {", "    if (epoch > 0) {"]],
    tests,
  },
  {
    name: "maintenance-new-token-each-time",
    breaks: "Who asks again gets the same lease.",
    file: handlers,
    replace: [["      token: BigInt(own?.token ?? 0),", "      token: 0n,"]],
    tests,
  },
  {
    name: "maintenance-released-while-away",
    breaks: "A lease counts until its broker is back.",
    file: handlers,
    replace: [
      [
        "const blockers = isAwaited ? notBack",
        "const blockers = isAwaited && token < 0n ? notBack",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-ends-while-away",
    breaks: "A lease that has run out counts until its broker is back.",
    file: watch,
    replace: [
      [
        "      if (takesAway(kind) && notBack(state.current, brokerId).length > 0) continue;\n",
        "      if (kind < 0 && notBack(state.current, brokerId).length > 0 && takesAway(kind)) continue;\n",
      ],
    ],
    tests,
  },
  {
    name: "maintenance-renewals-do-nothing",
    breaks: "A renewal gives a lease its whole time.",
    file: watch,
    replace: [["    if (seen?.modRevision !== modRevision) {", "    if (seen === undefined) {"]],
    tests,
  },
  {
    name: "maintenance-renewed-and-removed",
    breaks: "A lease that is renewed at the last moment stays.",
    file: watch,
    replace: [
      ["await reign.write([same], [", "await reign.write(same.equals < 0 ? [same] : [], ["],
    ],
    tests,
  },
  {
    name: "maintenance-leads-on",
    breaks: "A broker in maintenance leads only where nobody else is in sync.",
    file: `${at}desired.ts`,
    replace: [
      [
        "const stopping = [...state.shuttingDown, ...away];",
        "const stopping = [...state.shuttingDown];",
      ],
    ],
    tests: planned,
  },
  {
    name: "maintenance-move-ends-on-it",
    breaks: "A move ends only where enough stay beside a broker in maintenance.",
    file: `${at}reassignment.ts`,
    replace: [["    staying.length >=", "    inSync.length >="]],
    tests: planned,
  },
  {
    name: "maintenance-move-ends-meanwhile",
    breaks: "A move that was to end when a lease is granted is decided anew.",
    file: `${at}desired.ts`,
    replace: [["      ...(led === undefined\n", "      ...(led !== undefined\n"]],
    tests: planned,
  },
  {
    name: "metadata-prefix-compare-late",
    breaks: "A compare of a prefix fails for what was put at its revision.",
    file: "packages/metadata/src/embedded.ts",
    replace: [["if (kv.modRevision >= below && key", "if (kv.modRevision > below && key"]],
    tests: ["packages/metadata/src/store.test.ts"],
  },
  {
    name: "metadata-prefix-compare-of-one-key",
    breaks: "A compare of a prefix is about all keys with it.",
    file: "packages/metadata/src/etcd/codec.ts",
    replace: [
      [
        "return { ...this.range({ prefix }), result",
        "return { ...this.range({ key: prefix }), result",
      ],
    ],
    tests: ["packages/metadata/src/etcd/store.test.ts"],
  },
];

export const maintenanceMutants: readonly Mutant[] = [...judging, ...granting, ...keeping];
