/**
 * A committed offset as a register: one client sets it, and deletes the group from time to time;
 * another one reads. What is read is what was set last, or what is being set (G4, G10).
 */
import assert from "node:assert/strict";
import type { Client } from "@millrace/client/core";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { Marks, SeededRandom } from "@millrace/sim";
import { isForeignStore, untilReached } from "../history.ts";

const group = "register";
const topic = "t";

export interface RegisterOptions {
  readonly random: SeededRandom;
  readonly marks: Marks;
  readonly lasting: (name: string) => Client;
  readonly sleep: (ms: number) => Promise<void>;
}

/** A value that was set, or "" for a deletion. */
interface Write {
  readonly value: string;
  /** Unknown: it may happen at any time after. */
  outcome: "open" | "done" | "unknown";
}

export class Register {
  readonly #options: RegisterOptions;
  readonly #writes: Write[] = [{ value: "", outcome: "done" }];
  #writer: Client | undefined;
  #reader: Client | undefined;

  constructor(options: RegisterOptions) {
    this.#options = options;
  }

  async begin(): Promise<void> {
    const { lasting } = this.#options;
    this.#writer = lasting("writer-of-register");
    this.#reader = lasting("reader-of-register");
    for (const client of [this.#writer, this.#reader]) {
      await untilReached(async () => void (await client.admin.cluster()));
    }
  }

  async run(working: () => boolean): Promise<void> {
    const { random, sleep } = this.#options;
    const write = async (): Promise<void> => {
      while (working()) {
        await this.#write(random.chance(0.15));
        await sleep(random.float() * 1000);
      }
    };
    const read = async (): Promise<void> => {
      while (working()) {
        await this.#read();
        await sleep(random.float() * 1000);
      }
    };
    await Promise.all([write(), read()]);
  }

  /** It is read once more, when nothing is wrong. */
  finish(): Promise<void> {
    return untilReached(() => this.#read(true));
  }

  async #write(isDeletion: boolean): Promise<void> {
    const value = isDeletion ? "" : `w${this.#writes.length}`;
    const write: Write = { value, outcome: "open" };
    this.#writes.push(write);
    try {
      if (isDeletion) await this.#writer?.admin.deleteGroup({ group });
      else {
        const offsets = [{ topic, partition: 0, offset: 0n, metadata: value }];
        const [result] = (await this.#writer?.admin.commitOffsets({ group, offsets })) ?? [];
        if (result?.error !== undefined) throw result.error;
      }
      write.outcome = "done";
      this.#options.marks.sometimes(`groups: a register is ${isDeletion ? "deleted" : "set"}`);
    } catch (thrown) {
      write.outcome = "unknown";
      if (isDeletion && hasCode(thrown, ErrorCode.GROUP_ID_NOT_FOUND)) return;
      const error = MillraceError.from(thrown);
      if (!error.spec.retriable && !isForeignStore(error)) throw error;
    }
  }

  async #read(mustAnswer = false): Promise<void> {
    const before = this.#writes.findLastIndex(({ outcome }) => outcome === "done");
    const value = await this.#fetch(mustAnswer);
    if (value === undefined) return;
    const may = this.#writes.filter(({ outcome }, i) => i >= before || outcome === "unknown");
    const isFine = may.some((one) => one.value === value);
    const wanted = may.map((one) => one.value || "nothing");
    assert.ok(isFine, `G4: the register has ${value || "nothing"}, and not one of ${wanted}`);
  }

  /** Undefined while nobody can answer. */
  async #fetch(mustAnswer: boolean): Promise<string | undefined> {
    try {
      const [found] = (await this.#reader?.admin.fetchOffsets({ group })) ?? [];
      return found === undefined ? "" : Buffer.from(found.metadata).toString();
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      if (error.code === ErrorCode.GROUP_ID_NOT_FOUND) return "";
      if (mustAnswer || (!error.spec.retriable && !isForeignStore(error))) throw error;
      return undefined;
    }
  }
}
