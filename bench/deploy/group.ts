/** A group of members in a process of their own, and what it said of them. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { History, Ownership, Read } from "./history.ts";

const pollMs = 20;
/** Patience with a group until it has settled, ms. */
const settleMsMax = 120_000;

export class Group {
  readonly #child: ChildProcess;
  readonly #partitions: number;
  readonly #owners = new Map<number, string>();
  readonly #ownerships: Ownership[] = [];
  readonly #reads: Read[] = [];
  readonly #in = new Set<string>();
  #exited = false;

  constructor(command: string, args: readonly string[], partitions: number) {
    this.#partitions = partitions;
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.once("exit", () => {
      this.#exited = true;
    });
    if (this.#child.stdout === null) throw new Error(`${command} has no output`);
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#take(line));
  }

  get history(): History {
    return { partitions: this.#partitions, ownerships: this.#ownerships, reads: this.#reads };
  }

  /** Starts a member; `instanceId` makes it a static one. */
  async add(member: string, instanceId?: string): Promise<void> {
    this.#say(["add", member, ...(instanceId === undefined ? [] : [instanceId])].join(" "));
    await this.#until(`${member} is there`, () => this.#in.has(member));
  }

  /** Resolves once the member has left. */
  async remove(member: string): Promise<void> {
    this.#say(`remove ${member}`);
    await this.#until(`${member} is gone`, () => !this.#in.has(member));
  }

  /**
   * Waits until every partition has an owner, and every member has as many as any other, or one
   * more.
   */
  async settled(): Promise<void> {
    await this.#until("every partition has an owner", () => {
      const counts = new Map([...this.#in].map((member) => [member, 0]));
      for (const owner of this.#owners.values()) counts.set(owner, (counts.get(owner) ?? 0) + 1);
      const all = [...counts.values()];
      return this.#owners.size === this.#partitions && Math.max(...all) - Math.min(...all) <= 1;
    });
  }

  /** Ends all members and the process. */
  async end(): Promise<void> {
    this.#child.stdin?.end();
    await this.#until("the members end", () => this.#exited, true);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  #take(line: string): void {
    const [what, member = "", rest = "", time] = line.split(" ");
    const partition = Number(rest);
    const atMs = Number(time);
    if (what === "read") this.#reads.push({ atMs, member, partition });
    else if (what === "in") this.#in.add(member);
    else if (what === "out") this.#out(member, atMs);
    else if (what === "got" || what === "gave") this.#own({ atMs, member, partition, kind: what });
    else process.stderr.write(`${line}\n`);
  }

  #out(member: string, atMs: number): void {
    this.#in.delete(member);
    // A member need not say that it gave back what it had when it left.
    for (const [partition, owner] of this.#owners) {
      if (owner === member) this.#own({ atMs, member, partition, kind: "gave" });
    }
  }

  #own(change: Ownership): void {
    const { kind, member, partition } = change;
    if (kind === "got") this.#owners.set(partition, member);
    else if (this.#owners.get(partition) === member) this.#owners.delete(partition);
    else return;
    this.#ownerships.push(change);
  }

  async #until(what: string, holds: () => boolean, exiting = false): Promise<void> {
    const endMs = performance.now() + settleMsMax;
    while (!holds()) {
      if (this.#exited && !exiting) throw new Error(`the members ended before ${what}`);
      if (performance.now() > endMs) throw new Error(`not so after ${settleMsMax} ms: ${what}`);
      await sleep(pollMs);
    }
  }
}
