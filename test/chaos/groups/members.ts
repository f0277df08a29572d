/**
 * Members of groups as processes, one life after the other: they leave, are killed, stand still
 * for longer than their session, and come back, with the same name or another one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SeededRandom } from "@millrace/sim";
import type { Event, Life } from "../../groups/ledger.ts";
import type { Tell } from "../clients.ts";
import { nowMs } from "./member-clock.ts";
import { eventsIn } from "./member-lines.ts";

const program = fileURLToPath(new URL("./member.ts", import.meta.url));

/** What a member is told on its command line. */
export interface MemberOptions {
  readonly bootstrap: readonly string[];
  readonly topic: string;
  readonly name: string;
  readonly group: string;
  readonly instanceId: string | undefined;
  readonly autoCommit: boolean;
  readonly bodyMs: number;
  readonly style: "records" | "batches" | "process";
}

/** Members of each group. */
const groupSizes = [2, 2] as const;
export const groupNames = groupSizes.map((_, group) => `group-${group}`);

const fates = ["leaves", "is killed", "is killed", "stands still"] as const;
export type Fate = (typeof fates)[number];

/** Longest time that a goodbye may take, and a life is left to itself, ms. */
const leaveMs = 15_000;
const lifeMs = [4_000, 20_000] as const;

interface Running {
  readonly life: Life;
  readonly file: string;
  readonly child: ChildProcess;
  readonly exited: Promise<void>;
  isOver: boolean;
}

export class Members {
  readonly #directory: string;
  readonly #bootstrap: readonly string[];
  readonly #topic: string;
  readonly #tell: Tell;
  readonly #random: SeededRandom;
  readonly #running = new Set<Running>();
  readonly #lives: Running[] = [];
  /** Ends of lives, which only the parent sees. */
  readonly #gone: Event[] = [];
  readonly #slots: Promise<void>[] = [];
  readonly #calm = new AbortController();
  #isEnding = false;
  readonly counts = new Map<Fate, number>();

  constructor(
    directory: string,
    { bootstrap, topic }: Pick<MemberOptions, "bootstrap" | "topic">,
    seed: number,
    tell: Tell,
  ) {
    this.#directory = join(directory, "members");
    mkdirSync(this.#directory, { recursive: true });
    this.#bootstrap = bootstrap;
    this.#topic = topic;
    this.#random = new SeededRandom(seed ^ 0x5be0cd19);
    this.#tell = tell;
  }

  get lives(): number {
    return this.#lives.length;
  }

  /** How many live now, of a group. */
  living(group: string): number {
    return [...this.#running].filter(({ life }) => life.group === group).length;
  }

  start(): void {
    groupSizes.forEach((size, group) => {
      for (let i = 0; i < size; i += 1) this.#slots.push(this.#occupy(`group-${group}`, `m${i}`));
    });
  }

  /** Whoever lives now goes on, and nobody dies any more. */
  calm(): void {
    this.#calm.abort();
  }

  /** All leave. Resolves once nobody is left. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    this.#calm.abort();
    for (const one of this.#running) this.#end(one);
    await Promise.all(this.#slots);
  }

  /** Everything that all lives wrote, in the order of time. */
  events(): Event[] {
    const written = this.#lives.flatMap(({ file, life }) => {
      try {
        return eventsIn(readFileSync(file, "utf8"), life);
      } catch (thrown) {
        // It was killed before it wrote anything.
        if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw thrown;
      }
    });
    return [...written, ...this.#gone].toSorted((a, b) => a.atMs - b.atMs);
  }

  async #occupy(group: string, slot: string): Promise<void> {
    const random = this.#random;
    let instanceId = random.chance(0.5) ? `static-${group}-${slot}` : undefined;
    for (let number = 1; !this.#isEnding; number += 1) {
      const running = this.#begin(group, `${group}.${slot}.${number}`, instanceId);
      await this.#live(running);
      await running.exited;
      if (this.#isEnding) return;
      await this.#pause(random.float() * 3000);
      if (random.chance(0.2)) instanceId = random.chance(0.5) ? `${slot}-${number}` : undefined;
    }
  }

  #begin(group: string, name: string, instanceId: string | undefined): Running {
    const random = this.#random;
    const options: MemberOptions = {
      ...{ bootstrap: this.#bootstrap, topic: this.#topic, name, group, instanceId },
      ...{ autoCommit: random.chance(0.7), bodyMs: random.chance(0.3) ? 1 : 0 },
      style: random.pick(["records", "batches", "process"]),
    };
    const file = join(this.#directory, `${name}.jsonl`);
    const child = spawn(process.execPath, [program, JSON.stringify(options), file], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    const life = { name, group, autoCommit: options.autoCommit };
    const { promise: exited, resolve } = Promise.withResolvers<void>();
    const running: Running = { life, file, child, exited, isOver: false };
    child.once("exit", (code, signal) => {
      running.isOver = true;
      this.#running.delete(running);
      this.#gone.push({ kind: "gone", life, memberId: "", atMs: nowMs() });
      if (code !== 0 && signal === null)
        this.#tell({ kind: "note", text: `member ${name} ends with ${code}` });
      resolve();
    });
    this.#running.add(running);
    this.#lives.push(running);
    return running;
  }

  async #live(running: Running): Promise<void> {
    const random = this.#random;
    while (!running.isOver) {
      await Promise.race([running.exited, this.#pause(random.between(...lifeMs))]);
      if (running.isOver || this.#calm.signal.aborted) return;
      const fate = random.pick(fates);
      this.counts.set(fate, (this.counts.get(fate) ?? 0) + 1);
      this.#tell({ kind: "note", text: `member ${running.life.name} ${fate}` });
      if (fate === "stands still") {
        running.child.kill("SIGSTOP");
        await this.#pause(random.between(500, 12_000));
        running.child.kill("SIGCONT");
      } else if (fate === "leaves") {
        this.#end(running);
        return;
      } else {
        running.child.kill("SIGKILL");
        return;
      }
    }
  }

  /** Says goodbye; one that does not is killed. */
  #end({ child, exited }: Running): void {
    child.kill("SIGCONT");
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), leaveMs);
    void exited.then(() => clearTimeout(timer));
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#calm.signal }).catch(() => {});
  }
}
