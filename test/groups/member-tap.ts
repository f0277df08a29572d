/** Listens to what members say and are told, between their code and the network. */

import type { SimHooks } from "@millrace/env";
import { ErrorCode } from "@millrace/errors";
import type {
  Assignment,
  Committed,
  JoinCommit,
  JoinRequest,
  JoinResponse,
  TopicOffsets,
  TopicPartitions,
} from "@millrace/proto/group";
import { topicIdOf } from "@millrace/record";
import type { CallOptions, Channel, ClientStream, Dialer, Method } from "@millrace/rpc";
import {
  type Happening,
  type Ledger,
  type Life,
  type Place,
  type Position,
  placeOf,
} from "./ledger.ts";

const joinPath = "/millrace.group.v1.GroupService/Join";

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** The channel with some of its calls replaced. */
export const channelWith = (channel: Channel, calls: Partial<Channel>): Channel => ({
  endpoint: channel.endpoint,
  unary: (method, request, options) => channel.unary(method, request, options),
  serverStream: (method, request, options) => channel.serverStream(method, request, options),
  bidi: (method, options) => channel.bidi(method, options),
  close: () => channel.close(),
  ...calls,
});

type JoinStream = ClientStream<JoinRequest, JoinResponse>;

/** One life of a member, heard on its streams. Commits are marked with who sends them. */
export class MemberTap {
  readonly #ledger: Ledger;
  readonly #life: Life;
  readonly #marks: Pick<SimHooks, "sometimes">;

  constructor(ledger: Ledger, life: Life, marks: Pick<SimHooks, "sometimes">) {
    this.#ledger = ledger;
    this.#life = life;
    this.#marks = marks;
  }

  /** What is not said on a stream. */
  note(happening: Happening): void {
    this.#ledger.note(this.#life, "", happening);
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
    const tap = new StreamTap(this.#ledger, this.#life, this.#marks);
    const shown = (response: JoinResponse | undefined): JoinResponse | undefined => {
      if (response !== undefined) tap.hears(response);
      return response;
    };
    return {
      tryRead: () => shown(stream.tryRead()),
      read: async () => shown(await stream.read()),
      write: (request) => {
        tap.says(request);
        return stream.write(request);
      },
      drained: () => stream.drained(),
      queuedBytes: () => stream.queuedBytes(),
      end: () => stream.end(),
      cancel: (reason) => stream.cancel(reason),
    };
  }
}

/** One stream. A member that has left may have another one before this one has ended. */
class StreamTap {
  readonly #ledger: Ledger;
  readonly #life: Life;
  readonly #marks: Pick<SimHooks, "sometimes">;
  #memberId = "";
  /** It has said goodbye: what it is told then counts for nothing. */
  #hasLeft = false;

  constructor(ledger: Ledger, life: Life, marks: Pick<SimHooks, "sometimes">) {
    this.#ledger = ledger;
    this.#life = life;
    this.#marks = marks;
  }

  says({ commit, leave, open, report }: JoinRequest): void {
    if (leave !== undefined) this.#hasLeft = true;
    if (open !== undefined) {
      if (open.memberId !== "") this.#marks.sometimes("groups: a member comes back");
      this.#memberId = open.memberId;
      this.#note({ kind: "opened", owned: this.#placesOf(open.owned) });
    }
    if (report !== undefined) {
      const owned = this.#placesOf(report.owned);
      this.#note({ kind: "reported", revision: Number(report.revision), owned });
    }
    if (commit !== undefined) this.#commits(commit);
  }

  hears({ assignment, committed, joined }: JoinResponse): void {
    if (joined !== undefined) this.#memberId = joined.memberId;
    if (assignment !== undefined && !this.#hasLeft) this.#told(assignment);
    if (committed !== undefined) this.#answered(committed);
  }

  #note(happening: Happening): void {
    this.#ledger.note(this.#life, this.#memberId, happening);
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
    this.#note({ kind: "commits", tag, offsets });
  }

  #told({ memberEpoch, revision, topics }: Assignment): void {
    const assigned: Place[] = [];
    const positions = new Map<Place, Position>();
    for (const { partitions, topic, topicId } of topics) {
      // It was deleted: the member gives it back, and there is nothing to read.
      if (topic === "") continue;
      this.#ledger.nameOf(topicIdOf(topicId), topic);
      for (const { partition, position } of partitions) {
        const place = placeOf({ topic, partition });
        assigned.push(place);
        if (position === undefined) continue;
        const { metadata, offset } = position;
        positions.set(place, { offset: Number(offset), tag: textOf(metadata) });
      }
    }
    this.#note({ kind: "told", revision: Number(revision), memberEpoch, assigned, positions });
  }

  #answered({ commitId, error, refused }: Committed): void {
    const code = error === undefined ? undefined : codeName(error.code);
    if (code !== undefined) this.#marks.sometimes(`groups: a commit is refused: ${code}`);
    const codes = this.#refusedOf(refused);
    for (const one of codes.values()) this.#marks.sometimes(`groups: a commit is refused: ${one}`);
    const tag = `${this.#memberId}#${commitId}`;
    this.#note({ kind: "answered", tag, refused: codes, error: code });
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
