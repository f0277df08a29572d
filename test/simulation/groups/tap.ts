/** Listens to what members and coordinators say, between their code and the network. */
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { decodeGroupRecord, type GroupStateRecord } from "@millrace/group-coordinator";
import type { ProduceOnceRequest } from "@millrace/proto/broker";
import type {
  Assignment,
  Committed,
  JoinCommit,
  JoinRequest,
  JoinResponse,
  TopicOffsets,
  TopicPartitions,
} from "@millrace/proto/group";
import { decodeRecords, parseBody, topicIdOf } from "@millrace/record";
import type { CallOptions, Channel, ClientStream, Dialer, Method } from "@millrace/rpc";
import type { Marks } from "@millrace/sim";
import {
  type Happening,
  type Ledger,
  type Life,
  type Place,
  type Position,
  placeOf,
} from "./ledger.ts";

const joinPath = "/millrace.group.v1.GroupService/Join";
const produceOncePath = "/millrace.broker.v1.ProduceService/ProduceOnce";

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** The channel with some of its calls replaced. */
const channelWith = (channel: Channel, calls: Partial<Channel>): Channel => ({
  endpoint: channel.endpoint,
  unary: (method, request, options) => channel.unary(method, request, options),
  serverStream: (method, request, options) => channel.serverStream(method, request, options),
  bidi: (method, options) => channel.bidi(method, options),
  close: () => channel.close(),
  ...calls,
});

type JoinStream = ClientStream<JoinRequest, JoinResponse>;

/** One life of a member, heard on its stream. Commits are marked with who sends them. */
export class MemberTap {
  readonly #ledger: Ledger;
  readonly #life: Life;
  readonly #marks: Marks;
  #memberId = "";
  /** It has said goodbye: what it is told then counts for nothing. */
  #hasLeft = false;

  constructor(ledger: Ledger, life: Life, marks: Marks) {
    this.#ledger = ledger;
    this.#life = life;
    this.#marks = marks;
  }

  get memberId(): string {
    return this.#memberId;
  }

  note(happening: Happening): void {
    this.#ledger.note(this.#life, this.#memberId, happening);
  }

  dialer(inner: Dialer): Dialer {
    return {
      dial: (endpoint, options) => {
        const channel = inner.dial(endpoint, options);
        const bidi = <I, O>(method: Method<I, O>, of?: CallOptions): ClientStream<I, O> => {
          const stream = channel.bidi(method, of);
          if (method.path !== joinPath) return stream;
          return this.#heard(stream as unknown as JoinStream) as unknown as ClientStream<I, O>;
        };
        return channelWith(channel, { bidi });
      },
    };
  }

  #heard(stream: JoinStream): JoinStream {
    const shown = (response: JoinResponse | undefined): JoinResponse | undefined => {
      if (response !== undefined) this.#hears(response);
      return response;
    };
    return {
      tryRead: () => shown(stream.tryRead()),
      read: async () => shown(await stream.read()),
      write: (request) => {
        this.#says(request);
        return stream.write(request);
      },
      drained: () => stream.drained(),
      queuedBytes: () => stream.queuedBytes(),
      end: () => stream.end(),
      cancel: (reason) => stream.cancel(reason),
    };
  }

  #says({ commit, leave, open, report }: JoinRequest): void {
    if (leave !== undefined) this.#hasLeft = true;
    if (open !== undefined) {
      this.#hasLeft = false;
      if (open.memberId !== "") this.#marks.sometimes("groups: a member comes back");
      this.#memberId = open.memberId;
      this.note({ kind: "opened", owned: this.#placesOf(open.owned) });
    }
    if (report !== undefined) this.note({ kind: "reported", owned: this.#placesOf(report.owned) });
    if (commit !== undefined) this.#commits(commit);
  }

  #placesOf(topics: readonly TopicPartitions[]): Place[] {
    return topics.flatMap(({ partitions, topic, topicId }) => {
      const name = this.#ledger.nameOf(topicIdOf(topicId), topic);
      return partitions.map((partition) => placeOf({ topic: name, partition }));
    });
  }

  #commits({ commitId, topics }: JoinCommit): void {
    const tag = `${this.#memberId}#${commitId}`;
    const offsets = new Map<Place, number>();
    for (const { partitions, topic: told, topicId } of topics) {
      const topic = this.#ledger.nameOf(topicIdOf(topicId), told);
      for (const { committed, partition } of partitions) {
        if (committed === undefined) continue;
        committed.metadata = Buffer.from(tag);
        offsets.set(placeOf({ topic, partition }), Number(committed.offset));
      }
    }
    this.note({ kind: "commits", tag, offsets });
  }

  #hears({ assignment, committed, joined }: JoinResponse): void {
    if (joined !== undefined) this.#memberId = joined.memberId;
    if (assignment !== undefined && !this.#hasLeft) this.#told(assignment);
    if (committed !== undefined) this.#answered(committed);
  }

  #told({ memberEpoch, topics }: Assignment): void {
    const assigned: Place[] = [];
    const positions = new Map<Place, Position>();
    for (const { partitions, topicId, ...named } of topics) {
      const topic = this.#ledger.nameOf(topicIdOf(topicId), named.topic);
      for (const { partition, position } of partitions) {
        const place = placeOf({ topic, partition });
        assigned.push(place);
        if (position === undefined) continue;
        const { metadata, offset } = position;
        positions.set(place, { offset: Number(offset), tag: textOf(metadata) });
      }
    }
    this.note({ kind: "told", memberEpoch, assigned, positions });
  }

  #answered({ commitId, error, refused }: Committed): void {
    const code = error === undefined ? undefined : codeName(error.code);
    if (code !== undefined) this.#marks.sometimes(`groups: a commit is refused: ${code}`);
    const codes = this.#refusedOf(refused);
    for (const one of codes.values()) this.#marks.sometimes(`groups: a commit is refused: ${one}`);
    const tag = `${this.#memberId}#${commitId}`;
    this.note({ kind: "answered", tag, refused: codes, error: code });
  }

  /** Codes of partitions. */
  #refusedOf(topics: readonly TopicOffsets[]): Map<Place, string> {
    const codes = new Map<Place, string>();
    for (const { partitions, topic: told, topicId } of topics) {
      const topic = this.#ledger.nameOf(topicIdOf(topicId), told);
      for (const { error, partition } of partitions) {
        codes.set(placeOf({ topic, partition }), codeName(error?.code ?? 0));
      }
    }
    return codes;
  }
}

const codeName = (code: number): string => ErrorCode[code] ?? String(code);

/** Records of an append. Patterns are not looked at here. */
export const groupRecordOf = (key: Uint8Array, value: Uint8Array | undefined) =>
  decodeGroupRecord({ key, value }, (text) => ({ text, matching: () => new Set() }));

const recordsOf = ({ batch }: ProduceOnceRequest): (GroupStateRecord | undefined)[] => {
  if (batch?.body === undefined) return [];
  const { baseTimestampMs, records } = parseBody(batch.body);
  return decodeRecords(records, baseTimestampMs).map(({ key, value }) =>
    key === undefined ? undefined : groupRecordOf(key, value),
  );
};

/** What coordinators append, whoever they are: who had which shard last. */
export class AppendTap {
  readonly #ledger: Ledger;
  readonly #marks: Marks;
  /** By shard, the coordinator that appended last. */
  readonly #holders = new Map<number, string>();
  /** Shards in which something is known of groups. */
  readonly #used = new Set<number>();

  constructor(ledger: Ledger, marks: Marks) {
    this.#ledger = ledger;
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
          this.#begins(records);
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

  #begins(records: readonly (GroupStateRecord | undefined)[]): void {
    for (const record of records) {
      if (record?.kind === "member" && record.value === undefined) {
        this.#ledger.expels(record.memberId);
      }
    }
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
