/** Listens to what coordinators append, between their code and the network. */
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { GroupStateRecord } from "@millrace/group-coordinator";
import type { ProduceOnceRequest } from "@millrace/proto/broker";
import { decodeRecords, parseBody } from "@millrace/record";
import type { CallOptions, Dialer, Method } from "@millrace/rpc";
import type { Marks } from "@millrace/sim";
import { groupRecordOf } from "../../groups/group-log.ts";
import { channelWith } from "../../groups/member-tap.ts";

const produceOncePath = "/millrace.broker.v1.ProduceService/ProduceOnce";

const recordsOf = ({ batch }: ProduceOnceRequest): (GroupStateRecord | undefined)[] => {
  if (batch?.body === undefined) return [];
  const { baseTimestampMs, records } = parseBody(batch.body);
  return decodeRecords(records, baseTimestampMs).map(({ key, value }) =>
    key === undefined ? undefined : groupRecordOf(key, value),
  );
};

/** What coordinators append, whoever they are: who had which shard last. */
export class AppendTap {
  readonly #marks: Marks;
  /** By shard, the coordinator that appended last. */
  readonly #holders = new Map<number, string>();
  /** Shards in which something is known of groups. */
  readonly #used = new Set<number>();

  constructor(marks: Marks) {
    this.#marks = marks;
  }

  /** Of a process; `name` is its host. */
  dialer(inner: Dialer, name: string): Dialer {
    return {
      dial: (endpoint, options) => {
        const channel = inner.dial(endpoint, options);
        const unary = async <I, O>(
          method: Method<I, O>,
          request: I,
          of?: CallOptions,
        ): Promise<O> => {
          if (method.path !== produceOncePath) return channel.unary(method, request, of);
          const append = request as unknown as ProduceOnceRequest;
          const records = recordsOf(append);
          try {
            const answer = await channel.unary(method, request, of);
            this.#appended(name, append.partition, records);
            return answer;
          } catch (thrown) {
            this.#refused(records, thrown);
            throw thrown;
          }
        };
        return channelWith(channel, { unary });
      },
    };
  }

  #appended(name: string, shard: number, records: readonly (GroupStateRecord | undefined)[]): void {
    const before = this.#holders.get(shard);
    if (before !== undefined && before !== name && this.#used.has(shard)) {
      this.#marks.sometimes("groups: a shard with groups moves");
    }
    this.#holders.set(shard, name);
    if (records.some((record) => record !== undefined)) this.#used.add(shard);
  }

  #refused(records: readonly (GroupStateRecord | undefined)[], thrown: unknown): void {
    if (records.every((record) => record === undefined)) return;
    if (hasCode(thrown, ErrorCode.END_OFFSET_MISMATCH)) {
      this.#marks.sometimes("groups: an append of a coordinator that was replaced is refused");
    } else {
      const { codeName: name } = MillraceError.from(thrown);
      this.#marks.sometimes(`groups: an append meets ${name}`);
    }
  }
}
