/** Accounts without a database: see docs/guides/event-sourcing.md. */
import {
  type Client,
  type Consumer,
  EndOffsetMismatchError,
  MillraceError,
  type Producer,
} from "@millrace/client";

/** What happened to an account. `command` names the request that it answers. */
interface Change {
  readonly command: string;
  readonly account: string;
  readonly amount: number;
}

export class InsufficientFunds extends Error {}

/** The accounts of one partition, as a server knows them. Any number of servers may have one. */
export class Shard {
  readonly #client: Client;
  readonly #topic: string;
  readonly #partition: number;
  readonly #consumer: Consumer;
  readonly #producer: Producer;
  readonly #balances = new Map<string, number>();
  readonly #answered = new Set<string>();
  /** Every change before this offset is in the balances. */
  #end = 0n;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(client: Client, topic: string, partition: number) {
    this.#client = client;
    this.#topic = topic;
    this.#partition = partition;
    this.#consumer = client.consumer();
    this.#producer = client.producer();
  }

  static async open(client: Client, topic: string, partition: number): Promise<Shard> {
    const shard = new Shard(client, topic, partition);
    await shard.#consumer.assign([{ topic, partition, from: "earliest" }]);
    await shard.#readAll();
    return shard;
  }

  /** As of what this server has read: another one may know more. */
  balanceOf(account: string): number {
    return this.#balances.get(account) ?? 0;
  }

  #apply({ command, account, amount }: Change): void {
    this.#balances.set(account, this.balanceOf(account) + amount);
    this.#answered.add(command);
    this.#end += 1n;
  }

  /** Reads on until every change before `end` is in the balances. */
  async #readTo(end: bigint): Promise<void> {
    if (this.#end >= end) return;
    for await (const record of this.#consumer.records()) {
      // The changes of this server come again.
      if (record.offset === this.#end) this.#apply(record.json() as Change);
      if (this.#end >= end) return;
    }
  }

  async #readAll(): Promise<void> {
    const place = { topic: this.#topic, partition: this.#partition, at: "latest" } as const;
    const latest = await this.#client.admin.listOffset(place);
    await this.#readTo(latest?.offset ?? 0n);
  }

  /**
   * Changes a balance, once for each `command`, however often it is asked for and at how many
   * servers. Returns the new balance. Throws InsufficientFunds: no balance is ever negative.
   */
  change(change: Change): Promise<number> {
    // One decision after the other: each stands on the one before it.
    const result = this.#turn.then(() => this.#decide(change));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #decide(change: Change): Promise<number> {
    const { command, account, amount } = change;
    for (;;) {
      if (this.#answered.has(command)) return this.balanceOf(account);
      if (this.balanceOf(account) + amount < 0) throw new InsufficientFunds(account);
      try {
        await this.#producer.send({
          topic: this.#topic,
          partition: this.#partition,
          key: account,
          value: JSON.stringify(change),
          expectedEndOffset: this.#end,
        });
        this.#apply(change);
      } catch (thrown) {
        await this.#learn(thrown);
      }
    }
  }

  /** After a send that failed: reads what there is to know before the next decision. */
  async #learn(thrown: unknown): Promise<void> {
    // Another server was first.
    if (thrown instanceof EndOffsetMismatchError) await this.#readTo(thrown.actualEndOffset);
    // It may have been written: then the command is among those that are answered.
    else if (thrown instanceof MillraceError && thrown.spec.sideEffects) await this.#readAll();
    else throw thrown;
  }
}
