/** The stream of one member: between it and its shard. */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { DrainSchema, type PartitionError } from "@millrace/proto/common";
import {
  CommittedSchema,
  type JoinCommit,
  JoinedSchema,
  type JoinOpen,
  type JoinRequest,
  type JoinResponse,
  JoinResponseSchema,
  type TopicOffsets,
} from "@millrace/proto/group";
import { partitionError, type ServerStream } from "@millrace/rpc";
import type { NamePattern, Push } from "../group/types.ts";
import { limits } from "../limits.ts";
import type { Coordinator, MemberStream } from "../runtime/coordinator.ts";
import type { PartitionEnds } from "../runtime/partition-ends.ts";
import type { ShardRunner } from "../runtime/shard-runner.ts";
import type { StreamOf } from "../shard/shard.ts";
import { subscriptionOf } from "./join-request.ts";
import { assignmentMessage, readOffsets, refusedMessage, setOf } from "./messages.ts";

export interface JoinContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly coordinator: Coordinator;
  readonly clusterId: string;
  readonly featureLevel: number;
  /** Throws UNSUPPORTED_OPERATION for one that is not there. */
  readonly checkFeatures: (required: readonly string[]) => void;
  readonly patternOf: (text: string) => NamePattern;
  readonly ends: PartitionEnds;
}

type Stream = ServerStream<JoinRequest, JoinResponse>;

const violation = (what: string): MillraceError =>
  MillraceError.refusal(ErrorCode.STREAM_PROTOCOL_VIOLATION, `${what}: see GroupService.Join`);

export class JoinSession implements MemberStream {
  readonly #context: JoinContext;
  readonly #stream: Stream;
  readonly #over = Promise.withResolvers<void>();
  #of: StreamOf | undefined;
  #runner: ShardRunner | undefined;
  #shard = 0;
  /** Assignments that came before the member was told that it is one. */
  #early: Push[] | undefined = [];
  #commitsInFlight = 0;
  #wake: () => void = () => {};
  #cancelBeat: Cancel = () => {};
  /** A new member without a static name, which has not shown yet that it knows its id. */
  #isNameless = false;

  constructor(stream: Stream, context: JoinContext) {
    this.#stream = stream;
    this.#context = context;
    // It may end before anybody waits for it.
    this.#over.promise.catch(() => {});
  }

  get shard(): number {
    return this.#shard;
  }

  /** Resolves once the member has left or is gone; rejects with what ends the stream. */
  async run(): Promise<void> {
    const { coordinator } = this.#context;
    const { context } = this.#stream;
    const onDrain = (): void => this.#drain();
    context.draining.addEventListener("abort", onDrain);
    try {
      const open = await this.#readOpen();
      await this.#join(open);
      await Promise.race([this.#readAll(), this.#over.promise]);
    } finally {
      context.draining.removeEventListener("abort", onDrain);
      this.#cancelBeat();
      const of = this.#of;
      if (of !== undefined) {
        coordinator.closed(of.session);
        this.#lost(of);
      }
    }
  }

  /** A member that may not know its id cannot come back: nobody waits for it. */
  #lost(of: StreamOf): void {
    if (!this.#isNameless) {
      this.#runner?.note((shard, now) => shard.lost(of, now));
      return;
    }
    this.#runner?.run((shard, now) => shard.leave(of, false, now)).catch(() => {});
  }

  push(push: Push): void {
    if (push.kind === "end") this.end(MillraceError.refusal(push.code, push.message));
    else if (this.#early !== undefined) this.#early.push(push);
    else this.#assign(push);
  }

  end(error: MillraceError): void {
    this.#over.reject(error);
  }

  #write(response: Partial<Pick<JoinResponse, "joined" | "assignment" | "committed" | "drain">>) {
    this.#stream.write(create(JoinResponseSchema, response));
  }

  #assign(push: Extract<Push, { readonly kind: "assignment" }>): void {
    this.#write({ assignment: assignmentMessage(push, this.#context.coordinator.topics) });
  }

  /** The member comes back, here or elsewhere: nothing of it is lost. */
  #drain(): void {
    const { drainGraceMs: graceMs } = limits;
    const drain = create(DrainSchema, { graceMs, reason: "the coordinator is stopping" });
    this.#write({ drain });
    this.#over.resolve();
  }

  async #readOpen(): Promise<JoinOpen> {
    const { clock, clusterId, checkFeatures } = this.#context;
    const late = Promise.withResolvers<never>();
    const cancel = clock.timer(limits.openTimeoutMs, () => {
      late.reject(violation(`no opening message within ${limits.openTimeoutMs} ms`));
    });
    try {
      const first = await Promise.race([this.#stream.read(), late.promise]);
      const open = first?.open;
      if (open === undefined) throw violation("the first message has no open");
      checkFeatures(open.requiredFeatures);
      if (open.clusterId === "" || open.clusterId === clusterId) return open;
      const message = `this is cluster ${clusterId}, not ${open.clusterId}: check the address`;
      throw MillraceError.refusal(ErrorCode.CLUSTER_ID_MISMATCH, message);
    } finally {
      cancel();
    }
  }

  async #join(open: JoinOpen): Promise<void> {
    const { coordinator, patternOf, random } = this.#context;
    const { peer } = this.#stream.context;
    const subscription = subscriptionOf(open, peer, patternOf);
    const runner = await coordinator.runnerOf(open.group);
    this.#shard = coordinator.shardOf(open.group);
    const isNew = open.memberId === "";
    const memberId = isNew ? Buffer.from(random.bytes(16)).toString("hex") : open.memberId;
    const session = coordinator.opened(this);
    const of = { group: open.group, memberId, session };
    this.#of = of;
    this.#runner = runner;
    this.#isNameless = isNew && subscription.instanceId === undefined;
    const { memberEpoch } = open;
    const returning = isNew
      ? undefined
      : { memberEpoch, owned: setOf(coordinator.topics, open.owned) };
    const joining = { memberId, session, subscription, returning };
    await runner.run((shard, now) => shard.join(open.group, joining, now));
    const { sessionTimeoutMs, rebalanceTimeoutMs } = subscription;
    const heartbeatIntervalMs = Math.floor(sessionTimeoutMs / limits.beatsPerSession);
    const { clusterId, featureLevel } = this.#context;
    this.#write({
      joined: create(JoinedSchema, {
        ...{ memberId, clusterId, featureLevel, heartbeatIntervalMs },
        ...{ sessionTimeoutMs, rebalanceTimeoutMs },
      }),
    });
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const push of early) this.push(push);
    this.#beat(heartbeatIntervalMs);
  }

  /** A client hears that the coordinator is alive. */
  #beat(intervalMs: number): void {
    this.#cancelBeat = this.#context.clock.timer(intervalMs, () => {
      this.#write({});
      this.#beat(intervalMs);
    });
  }

  async #readAll(): Promise<void> {
    for (;;) {
      const request = this.#stream.tryRead() ?? (await this.#stream.read());
      // Half-closed without a goodbye: a stream that was lost.
      if (request === undefined) return;
      this.#isNameless = false;
      if (request.open !== undefined) throw violation("a second open");
      if (request.leave !== undefined) return this.#leave(request.leave.temporary);
      await this.#accept(request);
      while (this.#commitsInFlight >= limits.commitsInFlightMax) await this.#nextAnswer();
      if (this.#stream.queuedBytes() > 0) await this.#stream.drained();
    }
  }

  #nextAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #accept({ commit, report }: JoinRequest): Promise<void> {
    const [runner, of] = this.#member;
    runner.note((shard, now) => shard.heard(of, now));
    // What the member has done of a partition is committed before it gives the partition back.
    if (commit !== undefined) await this.#commit(commit);
    if (report === undefined) return;
    const owned = setOf(this.#context.coordinator.topics, report.owned);
    const revision = Number(report.revision);
    runner
      .run((shard, now) => shard.report(of, { revision, owned }, now))
      .catch((thrown: unknown) => this.#over.reject(thrown));
  }

  /** Resolves once the commit has its place in the order of the shard; it is answered later. */
  async #commit({ commitId, topics: listed }: JoinCommit): Promise<void> {
    const [runner, of] = this.#member;
    const { coordinator, ends } = this.#context;
    const { topics } = coordinator;
    const { offsets, unknown } = readOffsets(topics, listed);
    const answer = (result: { refused: TopicOffsets[]; error?: PartitionError }): void => {
      this.#commitsInFlight -= 1;
      this.#write({ committed: create(CommittedSchema, { commitId, ...result }) });
      this.#wake();
    };
    const fail = (thrown: unknown): void => answer({ refused: [], error: partitionError(thrown) });
    this.#commitsInFlight += 1;
    try {
      const beyond = await ends.beyond(offsets);
      const inside = beyond.size === 0 ? offsets : offsets.filter((one) => !beyond.has(one));
      runner
        .run((shard, now) => shard.commit(of, inside, now))
        .then((refused) => {
          answer({ refused: refusedMessage(topics, [...refused, ...beyond.values()], unknown) });
        })
        .catch(fail);
    } catch (thrown) {
      // The ends cannot be told now.
      fail(thrown);
    }
  }

  async #leave(temporary: boolean): Promise<void> {
    const [runner, of] = this.#member;
    await runner.run((shard, now) => shard.leave(of, temporary, now));
  }

  get #member(): readonly [ShardRunner, StreamOf] {
    if (this.#runner === undefined || this.#of === undefined) throw violation("no member yet");
    return [this.#runner, this.#of];
  }
}
