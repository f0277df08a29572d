/** Group coordinators as processes: who serves which shard, and what follows a death. */
import type { Mutant } from "../mutant.ts";

const src = "services/group-coordinator/src";
const boots = [`${src}/process/boot.test.ts`];
const peers = [`${src}/process/peers.test.ts`];
const runtime = [`${src}/runtime/coordinator.test.ts`];
const shards = "services/broker/src/metadata/group-shards.ts";
const placements = ["services/broker/src/metadata/group-shards.test.ts"];

const placement: readonly Mutant[] = [
  {
    name: "shards-without-a-bound",
    breaks: "No coordinator has more than its share of the shards.",
    file: shards,
    replace: [["if (left === 0 || assigned", "if (assigned"]],
    tests: placements,
  },
  {
    name: "shards-by-their-number",
    breaks: "Few shards move when a coordinator comes or goes.",
    file: shards,
    replace: [
      [
        "mixed(mixed(shard + 1) ^ Math.imul(coordinatorId + 1, 0x9e3779b1))",
        "mixed(shard * 31 + coordinatorId * 7) % 4",
      ],
    ],
    tests: placements,
  },
  {
    name: "shards-for-one-that-stops",
    breaks: "A coordinator that is about to stop serves nothing.",
    file: shards,
    replace: [[" && !isShuttingDown;", " && isShuttingDown !== undefined;"]],
    tests: placements,
  },
  {
    name: "shards-without-an-address",
    breaks: "A coordinator that cannot be dialed serves nothing.",
    file: shards,
    replace: [["endpoint !== undefined && !", "!"]],
    tests: placements,
  },
  {
    name: "shards-of-before",
    breaks: "Shards follow the newest metadata.",
    file: shards,
    replace: [["coordinators !== this.#of || shardCount", "shardCount"]],
    tests: placements,
  },
  {
    name: "view-keeps-dead-coordinators",
    breaks: "A coordinator whose registration is gone serves nothing.",
    file: "services/broker/src/metadata/mirror.ts",
    replace: [["this.#coordinators.delete(Number", "void (Number"]],
    tests: boots,
  },
];

const hosting: readonly Mutant[] = [
  {
    name: "shards-not-dropped",
    breaks: "A coordinator serves its own shards alone.",
    file: `${src}/group-coordinator.ts`,
    replace: [["else coordinator.drop(shard);", "else void shard;"]],
    tests: boots,
  },
  {
    name: "shards-on-demand",
    breaks: "A coordinator serves its shards before anybody calls.",
    file: `${src}/group-coordinator.ts`,
    replace: [["    this.#isStarted = true;\n", ""]],
    tests: boots,
  },
  {
    name: "coordinator-without-a-hint",
    breaks: "A coordinator tells which one serves a group.",
    file: `${src}/group-coordinator.ts`,
    replace: [["hintOf: (shard) => this.#hintOf(shard, shardCount),", "hintOf: () => undefined,"]],
    tests: boots,
  },
  {
    name: "dropped-load-fails-the-next",
    breaks: "The end of a load that was dropped does not disturb the next one.",
    file: `${src}/runtime/coordinator.ts`,
    replace: [["if (hosted?.runner !== runner) return;", "if (hosted === undefined) return;"]],
    tests: runtime,
  },
  {
    name: "fenced-shard-waits",
    breaks: "A shard that was fenced is loaded at once when it is ours.",
    file: `${src}/runtime/coordinator.ts`,
    replace: [["if (isFenced) void this", "if (!isFenced) void this"]],
    tests: runtime,
  },
  {
    name: "fenced-shard-fights",
    breaks: "While the metadata cannot be asked, a shard that was fenced waits longer each time.",
    file: `${src}/runtime/coordinator.ts`,
    replace: [["hosted.pauseMs = Math.min(2 * hosted.pauseMs, pauseMsMax);", ""]],
    tests: [...runtime, ...boots],
  },
  {
    name: "fenced-shard-outlives-its-drop",
    breaks: "A shard that was dropped while the metadata were asked stays down.",
    file: `${src}/runtime/coordinator.ts`,
    replace: [["this.#hosted.get(shard) !== hosted || hosted.runner", "hosted.runner"]],
    tests: runtime,
  },
  {
    name: "calls-die-with-their-neighbour",
    breaks: "A call that times out does not end the others of its connection.",
    file: `${src}/cluster/channels.ts`,
    replace: [["if (dialed.calls === 0 && this.#dialed", "if (dialed.calls >= 0 && this.#dialed"]],
    tests: [`${src}/cluster/channels.test.ts`],
  },
];

const lives: readonly Mutant[] = [
  {
    name: "coordinators-watch-nobody",
    breaks: "The groups of a coordinator that was killed are served at once.",
    file: `${src}/process/peers.ts`,
    replace: [["if (this.#watches.has(id)) continue;", "if (id >= 0) continue;"]],
    tests: boots,
  },
  {
    name: "coordinators-watch-themselves",
    breaks: "A coordinator is watched over by others.",
    file: `${src}/process/peers.ts`,
    replace: [["(id) => id > own", "(id) => id >= own"]],
    tests: peers,
  },
  {
    name: "stopping-coordinator-taken-for-dead",
    breaks: "A coordinator that stops is not taken for dead.",
    file: `${src}/process/peers.ts`,
    replace: [
      [
        "return shuttingDown ? undefined : parse",
        "return shuttingDown === undefined ? undefined : parse",
      ],
    ],
    tests: peers,
  },
  {
    name: "coordinator-stops-without-a-word",
    breaks: "The others serve the groups of a coordinator that stops before it is gone.",
    file: `${src}/process/boot.ts`,
    replace: [["    await handOver(registration, mirror, store, env);\n", "    void handOver;\n"]],
    tests: boots,
  },
  {
    name: "coordinator-calls-addresses-of-clients",
    breaks: "A coordinator needs no address that only clients reach.",
    file: `${src}/cluster/leader-calls.ts`,
    replace: [["?.internalEndpoint", "?.endpoint"]],
    tests: [`${src}/cluster/leader-calls.test.ts`],
  },
  {
    name: "append-without-a-condition",
    breaks: "A coordinator that was replaced cannot commit.",
    file: `${src}/cluster/cluster-log.ts`,
    replace: [
      [
        "      expectedEndOffset: BigInt(expectedEndOffset),\n",
        "      ...(expectedEndOffset < 0 && { key: 0 }),\n",
      ],
    ],
    tests: boots,
  },
  {
    name: "offsets-from-the-memory",
    breaks: "A coordinator that was replaced cannot answer FetchOffsets.",
    file: `${src}/service/handlers.ts`,
    replace: [
      [
        "(await coordinator.runnerOf(group)).readLatest(",
        "(await coordinator.runnerOf(group)).read(",
      ],
    ],
    tests: boots,
  },
];

export const groupProcessMutants: readonly Mutant[] = [...placement, ...hosting, ...lives];
