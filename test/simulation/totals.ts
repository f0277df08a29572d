/** Counts over several runs. */
import type { RunReport } from "./run.ts";
import type { Layout } from "./run-cluster.ts";

const leaderChange = "broker: a partition has a new leader";

const everywhere = [
  leaderChange,
  "buggify no tail cache",
  "crash: power",
  "crash: process",
  "fault: cut",
  "fault: lose",
  "fault: partition",
  "fault: pause",
  "fault: stall",
  "log: a batch came again",
  "network: a connection is half-open",
  "network: a connection is refused",
  "network: a connection is reset",
  "network: a machine resets a connection that is over",
  "network: a packet is lost",
  "network: a silent connection is given up",
  "race: END_OFFSET_MISMATCH",
  "race: PRECEDING_REQUEST_FAILED",
  "race: UNAVAILABLE",
  "race: won",
] as const;

/** Where all of Millrace is one process. */
const unclean = "boot: leader epochs rise after an unclean stop";
const standalone = [unclean, "buggify checkpoints all the time", "fault: narrow"] as const;

const cluster = [
  "cluster: a process does not start",
  "fault: client",
  "fault: compaction",
  "fault: lease",
  "fault: store cut",
  "fault: store down",
  "fault: store empty",
  "fault: store loses answers",
  "fault: store of another cluster",
  "fault: store restored",
  "fault: store slow",
  "repair: rebuild",
  "repair: truncate",
  "says: a dead broker is fenced: its address refuses connections",
  "says: a hung broker is fenced: its heartbeats are silent",
  "says: a leader cannot be followed: trying again",
  "says: a log differs from its leader's",
  "says: in-sync replicas cannot be changed: trying again",
  "says: registered anew",
  "says: the election cannot be held: trying again",
  "says: the metadata store was restored, or is another one: everything is read anew",
  "says: this controller is not active any more",
  "store: a backup has older epochs",
  "store: a broker's lease ends",
  "store: a compaction hides deletions",
  "store: a leader does not see who joins",
  "store: a leader's lease ends",
  "store: a request is lost",
  "store: a watch is compacted",
  "store: a watch is lost",
  "store: an answer is lost",
  "store: the controller's lease ends",
  "topics: deleted",
  "topics: made",
] as const;

/** Of one in which the seeds decide where controllers are. */
const eitherLayout = [unclean, "layout: apart", "layout: together"] as const;

/** Where controllers may be apart. */
const apart = [
  "fault: controller alone",
  "fault: controller blind",
  "fault: controller deaf",
  "fault: controller dies",
  "fault: controller hangs",
  "fault: controller mute",
  "fault: controller without store",
] as const;

/** Of one with group coordinators and members. */
const grouped = [
  "fault: coordinator alone",
  "fault: coordinator deaf",
  "fault: coordinator dies",
  "fault: coordinator hangs",
  "fault: coordinator mute",
  "fault: coordinator without brokers",
  "fault: coordinator without store",
  "groups: a commit is refused: PARTITION_NOT_ASSIGNED",
  "groups: a loop that is stuck leaves",
  "groups: a member comes back",
  "groups: a member dies",
  "groups: a member hangs",
  "groups: a member is fenced",
  "groups: a member is renamed",
  "groups: a member leaves",
  "groups: a member loses power",
  "groups: a member subscribes by pattern",
  "groups: a position is reset",
  "groups: a register is deleted",
  "groups: a register is set",
  "groups: a revocation is not answered",
  "groups: a shard with groups moves",
  "groups: a static member is replaced",
  "groups: an append meets LEADER_NOT_AVAILABLE",
  "groups: an append meets NOT_ENOUGH_REPLICAS",
  "groups: an append meets UNAVAILABLE",
  "groups: an append of a coordinator that was replaced is refused",
  "groups: records are processed again",
  "store: a group coordinator's lease ends",
] as const;

/** Of a cluster with more machines than replicas. */
const moving = ["moves: cancelled", "moves: draining", "moves: recorded"] as const;

export class Totals {
  readonly marks = new Map<string, number>();
  #runs = 0;
  #events = 0;
  #simulatedMs = 0;
  #acked = 0;
  #read = 0;
  readonly #expected: readonly string[];

  /**
   * What a campaign of some hundred seeds must reach, or it does not try what it should. `layout`:
   * that of all of them, where the seeds do not decide. `hasGroups`: some have members of groups.
   */
  constructor(brokers: number | undefined, layout?: Layout, hasGroups = brokers !== undefined) {
    const own =
      brokers === undefined
        ? standalone
        : [...cluster, ...apart, ...(layout === undefined ? eitherLayout : [])];
    const more = [...((brokers ?? 0) > 3 ? moving : []), ...(hasGroups ? grouped : [])];
    this.#expected = [...everywhere, ...own, ...more];
  }

  add(report: RunReport): void {
    this.#runs += 1;
    this.#events += report.events;
    this.#simulatedMs += report.simulatedMs;
    this.#acked += report.acked;
    this.#read += report.read;
    for (const [name, count] of report.marks) {
      this.marks.set(name, (this.marks.get(name) ?? 0) + count);
    }
  }

  /** Marks that no run has reached. */
  missing(): string[] {
    return this.#expected.filter((name) => !this.marks.has(name));
  }

  summary(): string {
    const hours = (this.#simulatedMs / 3_600_000).toFixed(1);
    return (
      `${this.#runs} runs, ${this.#events} events in ${hours} simulated hours, ` +
      `${this.#acked} acknowledged, ${this.#read} read along, ` +
      `${this.marks.get(leaderChange) ?? 0} leader changes`
    );
  }
}
