/** A coordinator of one group, before a fake broker: what members say, and what they are told. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ErrorCode, MillraceError } from "@millrace/errors";
import {
  type JoinRequest,
  type JoinResponse,
  JoinResponseSchema,
  type TopicPartitions,
} from "@millrace/proto/group";
import { type GetMetadataRequest, GetMetadataResponseSchema } from "@millrace/proto/metadata";
import type {
  CallOptions,
  Channel,
  ClientStream,
  Dialer,
  DialOptions,
  Method,
} from "@millrace/rpc";
import type { FakeBroker } from "./fake-broker.ts";
import { FakeStream } from "./fake-stream.ts";

type Response = MessageInitShape<typeof JoinResponseSchema>;

const textOf = (owned: readonly TopicPartitions[]): string =>
  owned.flatMap(({ partitions }) => partitions).join(" ") || "nothing";

const requestText = ({ open, report, commit, leave }: JoinRequest): string => {
  if (open !== undefined) {
    const { instanceId, memberEpoch, memberId, owned, topicPattern, topics } = open;
    const back =
      memberId === "" ? "" : ` as ${memberId} epoch ${memberEpoch} owns ${textOf(owned)}`;
    const what = [...topics, ...(topicPattern === "" ? [] : [`/${topicPattern}/`])].join(" ");
    return `open ${what}${instanceId === "" ? "" : ` instance ${instanceId}`}${back}`;
  }
  if (report !== undefined) return `report ${report.revision}: ${textOf(report.owned)}`;
  if (commit !== undefined) {
    const offsets = commit.topics.flatMap(({ partitions }) =>
      partitions.map(({ committed, partition }) => `${partition}@${committed?.offset}`),
    );
    return `commit ${offsets.join(" ")}`;
  }
  if (leave !== undefined) return leave.temporary ? "leave for now" : "leave";
  return "alive";
};

/** A partition, or one with a position. */
export type Given = number | readonly [partition: number, offset: number];

/** The coordinator's side of one stream. */
export class FakeMemberStream {
  readonly endpoint: string;
  readonly stream: FakeStream<JoinRequest, JoinResponse>;
  readonly #coordinator: FakeCoordinator;
  readonly requests: JoinRequest[] = [];

  constructor(endpoint: string, coordinator: FakeCoordinator) {
    this.endpoint = endpoint;
    this.#coordinator = coordinator;
    this.stream = new FakeStream((request) => this.#take(request));
  }

  #take(request: JoinRequest): void {
    this.requests.push(request);
    this.#coordinator.said(requestText(request));
    const { commit, leave, open } = request;
    if (open !== undefined && this.#coordinator.joinsAtOnce) this.join();
    if (commit !== undefined && this.#coordinator.answersCommits) {
      this.push({ committed: { commitId: commit.commitId } });
    }
    if (leave !== undefined && this.#coordinator.answersGoodbyes) this.stream.end();
  }

  push(response: Response): void {
    this.stream.push(create(JoinResponseSchema, response));
  }

  join(): void {
    const { heartbeatIntervalMs, memberId } = this.#coordinator;
    this.push({ joined: { memberId, clusterId: "fake", heartbeatIntervalMs } });
    const { assigns } = this.#coordinator;
    if (assigns !== undefined) this.assign(1, assigns);
  }

  assign(revision: number, given: readonly Given[], memberEpoch = revision): void {
    const partitions = given.map((one) => {
      if (typeof one === "number") return { partition: one };
      return { partition: one[0], position: { offset: BigInt(one[1]) } };
    });
    const { topicId } = this.#coordinator.broker;
    const topics = [{ topic: "events", topicId, partitions }];
    this.push({ assignment: { revision: BigInt(revision), memberEpoch, topics } });
  }

  drain(): void {
    this.push({ drain: { graceMs: 1_000, reason: "stopping" } });
  }

  end(code: ErrorCode): void {
    this.stream.cancel(new MillraceError(code, "the stream ends"));
  }
}

/** Serves one group at `fake:1`, or wherever `at` says; everything else is the broker's. */
export class FakeCoordinator implements Dialer {
  readonly broker: FakeBroker;
  /** What members said, in order. */
  readonly transcript: string[] = [];
  readonly streams: FakeMemberStream[] = [];
  memberId = "m1";
  heartbeatIntervalMs = 100_000;
  joinsAtOnce = true;
  answersCommits = true;
  answersGoodbyes = true;
  /** What a member is given as soon as it has joined. */
  assigns: readonly Given[] | undefined;
  /** Port of the coordinator that the metadata names; undefined: none. */
  at: number | undefined = 1;
  /** Questions for the coordinator. */
  asked = 0;

  constructor(broker: FakeBroker) {
    this.broker = broker;
  }

  said(text: string): void {
    this.transcript.push(text);
  }

  /** What was said since the last call, without signs of life. */
  heard(): string[] {
    return this.transcript.splice(0).filter((text) => text !== "alive");
  }

  /** The stream that was opened last. */
  get last(): FakeMemberStream {
    const last = this.streams.at(-1);
    if (last === undefined) throw new Error("no stream was opened");
    return last;
  }

  dial(endpoint: string, options: DialOptions = {}): Channel {
    const channel = this.broker.dial(endpoint, options);
    return {
      endpoint,
      close: () => channel.close(),
      serverStream: (method, request, more) => channel.serverStream(method, request, more),
      unary: async <I, O>(method: Method<I, O>, request: I, more: CallOptions = {}): Promise<O> => {
        const isOfGroup =
          method.path.endsWith("/GetMetadata") &&
          (request as unknown as GetMetadataRequest).groups.length > 0;
        if (!isOfGroup) return channel.unary(method, request, more);
        return this.#whoServes(request as unknown as GetMetadataRequest) as O;
      },
      bidi: <I, O>(method: Method<I, O>): ClientStream<I, O> => {
        if (!method.path.endsWith("/Join")) return channel.bidi(method);
        const member = new FakeMemberStream(endpoint, this);
        this.streams.push(member);
        return member.stream as unknown as ClientStream<I, O>;
      },
    };
  }

  #whoServes({ groups }: GetMetadataRequest): unknown {
    this.asked += 1;
    const { at } = this;
    const endpoint = { host: "fake", port: at ?? 0 };
    const { clusterId, generation, revision } = this.broker;
    return create(GetMetadataResponseSchema, {
      ...{ clusterId, generation, revision, featureLevel: 3 },
      coordinators:
        at === undefined ? [] : groups.map((group) => ({ group, coordinatorId: at, endpoint })),
    });
  }
}
