/** Faults of the disk, injected one at a time into whatever comes by, and counted. */
import type { DiskOperation, SimDisk } from "../disk.ts";
import type { SeededRandom } from "../random.ts";
import type { Kind } from "./kinds.ts";
import { snapshotOffsetOf } from "./lost-producers.ts";

/** How often each kind of event happened. */
export class Counts {
  readonly #counts = new Map<string, number>();

  add(what: string, count = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }

  get(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  addAll(other: Counts): void {
    for (const [what, count] of other.#counts) this.add(what, count);
  }

  /** Sorted by name. */
  entries(): [string, number][] {
    return [...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

interface Rule {
  readonly kind: Kind;
  readonly operations: readonly DiskOperation[];
  readonly path: RegExp;
  readonly code: string;
  /** Matches that still go well. */
  skip: number;
  /** Matches that then fail. */
  times: number;
}

const files = {
  journal: /^journal\//,
  logs: /\.log(\.tmp)?$/,
  indexes: /index$/,
  sides:
    /(leader-epochs|cleaner-checkpoint|producers\.[0-9]+|recovery-points(\.copy)?|clean|meta)(\.tmp)?$/,
  partitions: /^partitions\/./,
  any: /./,
  journalList: /^journal-files$/,
  names: /^partitions\/.*\/leader-epochs\.tmp$/,
};

const writeTargets = [files.journal, files.logs, files.logs, files.indexes, files.sides, files.any];
const readTargets = [
  files.logs,
  files.indexes,
  files.sides,
  files.partitions,
  files.journal,
  files.journalList,
];
const transient = ["EMFILE", "ENFILE", "EINTR", "EAGAIN", "ENOMEM"];

/** An error that says something about the medium. */
export const isDamage = (code: string | undefined): boolean =>
  code !== undefined && !transient.includes(code);

/** Which partition's directory a path lies in, or undefined for what all share. */
export const partitionOf = (path: string): string | undefined =>
  /^partitions\/([0-9a-f]{32}-[0-9]{5})/.exec(path)?.[1];

export class FaultPlan {
  readonly #counts: Counts;
  #rules: Rule[] = [];
  /** A write, an fsync or a change of names failed: the directory may take no more writes. */
  mayStop = false;
  /** An fsync failed: what was in the page cache alone may be gone. */
  syncFailed = false;
  /** Something failed besides reads of one partition's files. */
  sharedFailed = false;
  /** Directories of partitions whose files met a fault, and the worst error of each. */
  readonly faulty = new Map<string, string>();
  /** Directories of partitions that any fault was about. */
  readonly troubled = new Set<string>();

  /** Snapshots of producers that a read met a fault in: their paths. */
  readonly unreadSnapshots = new Set<string>();
  /** Of these the file of leader epochs: it counts as damaged. */
  readonly faultyEpochs = new Set<string>();

  constructor(counts: Counts) {
    this.#counts = counts;
  }

  copy(counts: Counts): FaultPlan {
    const copy = new FaultPlan(counts);
    copy.mayStop = this.mayStop;
    copy.syncFailed = this.syncFailed;
    copy.sharedFailed = this.sharedFailed;
    for (const path of this.unreadSnapshots) copy.unreadSnapshots.add(path);
    for (const name of this.faultyEpochs) copy.faultyEpochs.add(name);
    for (const [name, code] of this.faulty) copy.faulty.set(name, code);
    for (const name of this.troubled) copy.troubled.add(name);
    return copy;
  }

  /** Any fault at all was injected since the plan was made. */
  get injected(): boolean {
    return this.mayStop || this.sharedFailed || this.faulty.size > 0;
  }

  attach(disk: SimDisk): void {
    disk.fault = (operation, path) => this.#judge(operation, path);
  }

  /** Something of a kind fails soon, once or a few times. */
  arm(kind: Kind, random: SeededRandom): void {
    const rule = ruleOf(kind, random);
    if (rule !== undefined) this.#rules.push({ ...rule, kind });
  }

  /** Nothing fails any more. */
  heal(): void {
    this.#rules = [];
  }

  #judge(operation: DiskOperation, path: string): string | undefined {
    for (const rule of this.#rules) {
      if (!rule.operations.includes(operation) || !rule.path.test(path)) continue;
      if (rule.skip > 0) {
        rule.skip -= 1;
        continue;
      }
      rule.times -= 1;
      if (rule.times <= 0) this.#rules = this.#rules.filter((other) => other !== rule);
      this.#counts.add(`fault: ${rule.code} from ${operation}`);
      if (rule.kind === "nameFault") this.#noteName(path);
      else this.#note(operation, path, rule.code);
      return rule.code;
    }
    return undefined;
  }

  /** Nothing stops, and only epochs without records may be forgotten: the file is removed. */
  #noteName(path: string): void {
    const name = partitionOf(path);
    if (name !== undefined) this.faultyEpochs.add(name);
  }

  #note(operation: DiskOperation, path: string, code: string): void {
    if (operation === "sync" || operation === "syncDirectory") this.syncFailed = true;
    const asks = ["read", "open", "fileSize", "size", "list"].includes(operation);
    const reads = asks && !path.endsWith(".tmp");
    const name = partitionOf(path);
    if (name === undefined || !reads) this.sharedFailed = true;
    if (name !== undefined && !isDamage(this.faulty.get(name))) this.faulty.set(name, code);
    if (name !== undefined && path.includes("/leader-epochs")) this.faultyEpochs.add(name);
    if (reads && snapshotOffsetOf(path) !== undefined) this.unreadSnapshots.add(path);
    // Where a read failed, a writer may have been about to open the file, too.
    this.mayStop = true;
  }
}

const ruleOf = (kind: Kind, random: SeededRandom): Omit<Rule, "kind"> | undefined => {
  const once = { skip: random.below(6), times: 1 };
  const path = random.pick(writeTargets);
  if (kind === "writeFault") {
    const operations = [
      random.pick(["write", "write", "write", "rename", "unlink", "truncate"] as const),
    ];
    const any = operations[0] !== "write";
    return { operations, path: any ? files.any : path, code: "EIO", ...once };
  }
  if (kind === "syncFault") {
    const operations = random.chance(0.8) ? (["sync"] as const) : (["syncDirectory"] as const);
    return { operations, path: operations[0] === "sync" ? path : files.any, code: "EIO", ...once };
  }
  if (kind === "syncFull") {
    return { operations: ["sync"], path, code: random.pick(["ENOSPC", "EDQUOT"]), ...once };
  }
  const times = random.chance(0.7) ? 1 : random.between(2, 6);
  const skip = random.below(4);
  if (kind === "readFault") {
    return { operations: ["read"], path: random.pick(readTargets), code: "EIO", skip, times };
  }
  if (kind === "openFault") {
    return { operations: ["open"], path: random.pick(readTargets), code: "EIO", skip, times };
  }
  if (kind === "nameFault") {
    const operations = [random.pick(["open", "rename"] as const)];
    const code = random.pick(["EACCES", "EISDIR"]);
    return { operations, path: files.names, code, skip, times: random.pick([1, 3, 20]) };
  }
  if (kind === "transientFault") {
    const operations = [random.pick(["open", "read", "write"] as const)];
    return { operations, path, code: random.pick(transient), skip, times };
  }
  return undefined;
};
