/** Members of a group of a fake coordinator, for the tests of this package. */
import { afterEach } from "node:test";
import { type Client, createClient } from "../core/client.ts";
import type { GroupConsumer } from "../core/group/group-consumer.ts";
import type { GroupConsumerOptions } from "../core/group/types.ts";
import { FakeBroker, testEnv } from "./fake-broker.ts";
import { FakeCoordinator } from "./fake-coordinator.ts";

const made: { readonly client: Client; readonly coordinator: FakeCoordinator }[] = [];
const loops: Loop[] = [];

// Nothing is left to wait for, so that closing is quick.
afterEach(async () => {
  for (const loop of loops.splice(0)) loop.free();
  for (const { client, coordinator } of made.splice(0)) {
    coordinator.answersCommits = true;
    coordinator.joinsAtOnce = true;
    await client.close().catch(() => {});
  }
});

export const groupSetUp = (partitions = 2): { coordinator: FakeCoordinator; client: Client } => {
  const coordinator = new FakeCoordinator(new FakeBroker(partitions));
  const client = createClient({ dialer: coordinator, env: testEnv(), bootstrap: ["fake:1"] });
  made.push({ client, coordinator });
  return { coordinator, client };
};

export const base = { group: "g", topics: ["events"], from: "earliest" } as const;

/** Reads in the background, one record for each `go`. */
export class Loop {
  readonly consumer: GroupConsumer;
  readonly seen: string[] = [];
  /** Records that the body is in the midst of: 0 or 1. */
  busy = 0;
  error: unknown;
  readonly ended: Promise<void>;
  #go: (() => void) | undefined;
  #isFree = false;

  constructor(client: Client, options: Partial<GroupConsumerOptions> = {}) {
    this.consumer = client.consumer({ ...base, ...options });
    loops.push(this);
    this.ended = this.#run().catch((thrown: unknown) => {
      this.error = thrown;
    });
  }

  async #run(): Promise<void> {
    for await (const record of this.consumer.records()) {
      this.seen.push(`${record.partition}@${record.offset}`);
      this.busy = 1;
      if (!this.#isFree) {
        await new Promise<void>((resolve) => {
          this.#go = resolve;
        });
      }
      this.busy = 0;
    }
  }

  /** Ends the body of the loop for the present record. */
  go(): void {
    this.#go?.();
  }

  /** Ends every body from now on. */
  free(): void {
    this.#isFree = true;
    this.go();
  }
}
