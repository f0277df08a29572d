/** Mutants of the contracts between servers and clients of different versions: ADR 9. */
import type { Mutant } from "../mutant.ts";

const wire = "packages/record/src/wire/";
const wireTests = [`${wire}wire.test.ts`];
const status = "packages/rpc/src/status.ts";
const statusTests = ["packages/rpc/src/status.test.ts"];
const client = "packages/client/src/core/";
const failureTests = [`${client}failures.test.ts`];
const metadataTests = [`${client}metadata/cache.test.ts`];
const viewTests = [`${client}metadata/view.test.ts`];
const inBandTests = ["services/broker/src/errors-in-band.test.ts"];
const dialer = "packages/rpc/src/grpc/client/dialer.ts";
const dialerTests = ["packages/rpc/src/grpc/client/dialer.test.ts"];
const endpointTests = ["packages/errors/src/endpoint.test.ts"];

const errors: readonly Mutant[] = [
  {
    name: "side-effects-not-encoded",
    breaks: "A PartitionError says whether the request may have had an effect.",
    file: `${wire}common.ts`,
    replace: [["    writer.bool(7, error.sideEffects);\n", ""]],
    tests: wireTests,
  },
  {
    name: "retriable-not-decoded",
    breaks: "A client reads whether an error is retriable.",
    file: `${wire}common.ts`,
    replace: [["error.retriable = reader.bool();", "reader.bool();"]],
    tests: wireTests,
  },
  {
    name: "stream-error-without-advice",
    breaks: "Errors on a stream say what a client may do.",
    file: "services/broker/src/produce/appender.ts",
    replace: [["  retriable: error.spec.retriable,\n", "  retriable: false,\n"]],
    tests: inBandTests,
  },
  {
    name: "call-error-without-advice",
    breaks: "Errors of a partition in a call say what a client may do.",
    file: "packages/rpc/src/partition-error.ts",
    replace: [["    ...{ retriable, refreshMetadata, sideEffects },\n", ""]],
    tests: inBandTests,
  },
  {
    name: "status-without-advice",
    breaks: "The status of a call says what a client may do.",
    file: status,
    replace: [[", ...adviceFacts(error.spec) }", " }"]],
    tests: statusTests,
  },
  {
    name: "unsaid-side-effects-are-none",
    breaks: "An error that does not say so may have had an effect.",
    file: status,
    replace: [['sideEffects: side_effects !== "false"', 'sideEffects: side_effects === "true"']],
    tests: statusTests,
  },
  {
    name: "reason-of-any-form",
    breaks: "The name of an unknown error can be shown on a terminal.",
    file: status,
    replace: [[" || !reasonFormat.test(reason)", ""]],
    tests: statusTests,
  },
  {
    name: "known-code-redefined",
    breaks: "What a known code means is not for the sender to say.",
    file: "packages/errors/src/error.ts",
    replace: [["details.spec === undefined || isKnownCode(code)", "details.spec === undefined"]],
    tests: failureTests,
  },
  {
    name: "unknown-code-is-final",
    breaks: "A client goes by what comes with a code that it does not know.",
    file: `${client}failures.ts`,
    replace: [["{ ...errorSpec(code), ...advice }", "errorSpec(code)"]],
    tests: failureTests,
  },
];

const endpoints: readonly Mutant[] = [
  {
    name: "ipv6-without-brackets",
    breaks: "An IPv6 address of an endpoint can be dialed.",
    file: "packages/errors/src/endpoint.ts",
    replace: [['host.includes(":") ?', 'host.includes("[") ?']],
    tests: endpointTests,
  },
  {
    name: "endpoint-without-a-host-dialed",
    breaks: "An endpoint of a message without a host is none.",
    file: "packages/errors/src/endpoint.ts",
    replace: [['told.host === "" || ', ""]],
    tests: [...endpointTests, ...metadataTests],
  },
  {
    name: "authority-dropped",
    breaks: "Calls carry the authority of their endpoint.",
    file: dialer,
    replace: [['"grpc.default_authority": this.#authority', '"grpc.default_authority": ""']],
    tests: dialerTests,
  },
  {
    name: "plaintext-to-tls",
    breaks: "An endpoint with TLS is refused with what to do.",
    file: dialer,
    replace: [["    tls ? refusedChannel", "    !tls && tls ? refusedChannel"]],
    tests: dialerTests,
  },
  {
    name: "endpoint-parts-forgotten",
    breaks: "TLS and authority of an endpoint reach the dialer.",
    file: `${client}connections.ts`,
    replace: [
      [
        "this.#dialer.dial(formatEndpoint(endpoint), { authority, tls })",
        "this.#dialer.dial(formatEndpoint(endpoint))",
      ],
    ],
    tests: metadataTests,
  },
  {
    name: "one-channel-for-two-authorities",
    breaks: "Endpoints that differ in authority have channels of their own.",
    file: `${client}connections.ts`,
    replace: [[" $".concat("{endpoint.authority}`"), "`"]],
    tests: metadataTests,
  },
];

const streamTests = ["test/integration/bad-input.test.ts"];

const features: readonly Mutant[] = [
  {
    name: "unknown-feature-accepted",
    breaks: "A stream that requires an unknown feature is refused.",
    file: "services/broker/src/features.ts",
    replace: [["!known.has(name)", "known.has(name)"]],
    tests: streamTests,
  },
  {
    name: "features-checked-late-on-produce",
    breaks: "Features are checked before anything else of a Produce opening.",
    file: "services/broker/src/produce/session.ts",
    replace: [
      ["    checkFeatures(open.requiredFeatures);\n", ""],
      ["    this.#acks = open", "    checkFeatures(open.requiredFeatures);\n    this.#acks = open"],
    ],
    tests: streamTests,
  },
  {
    name: "features-checked-late-on-fetch",
    breaks: "Features are checked before anything else of a Fetch opening.",
    file: "services/broker/src/fetch/session.ts",
    replace: [
      ["    checkFeatures(open.requiredFeatures);\n", ""],
      [
        "    checkIsolation(open.isolation);\n",
        "    checkIsolation(open.isolation);\n    checkFeatures(open.requiredFeatures);\n",
      ],
    ],
    tests: streamTests,
  },
  {
    name: "feature-level-untold",
    breaks: "A stream tells the feature level of its server.",
    file: `${wire}produce.ts`,
    replace: [["      writer.varint(5, opened.featureLevel);\n", ""]],
    tests: [...wireTests, ...streamTests],
  },
];

const metadataRoom = "services/broker/src/metadata/";
const watchTests = [`${metadataRoom}watch.test.ts`];

const metadata: readonly Mutant[] = [
  {
    name: "generation-change-untold",
    breaks: "The view tells when the generation is another one.",
    file: `${metadataRoom}mirror.ts`,
    replace: [
      [
        "coordinatorsChanged || deletionsChanged || generationChanged",
        "coordinatorsChanged || deletionsChanged",
      ],
    ],
    tests: [`${metadataRoom}mirror.test.ts`],
  },
  {
    name: "watch-outlives-its-generation",
    breaks: "A watch ends when the generation changes.",
    file: `${metadataRoom}watch.ts`,
    replace: [
      [
        "return Buffer.compare(this.#context.view.current.generation, this.#generation) !== 0;",
        "return false;",
      ],
    ],
    tests: watchTests,
  },
  {
    name: "min-revision-of-another-generation",
    breaks: "A revision of another generation is not waited for.",
    file: `${metadataRoom}service.ts`,
    replace: [["if (comparable) await requireRevision", "await requireRevision"]],
    tests: watchTests,
  },
  {
    name: "resume-of-another-generation",
    breaks: "A client of another generation gets a snapshot.",
    file: `${metadataRoom}watch.ts`,
    replace: [
      ["isSameGeneration(this.#generation, this.#request.generation) && after > 0n", "after > 0n"],
    ],
    tests: watchTests,
  },
  {
    name: "resume-beyond-the-memory",
    breaks: "A client that was away too long gets a snapshot.",
    file: `${metadataRoom}route-history.ts`,
    replace: [["if (revision < this.#sinceRevision) return undefined;", ""]],
    tests: watchTests,
  },
  {
    name: "half-forgotten-revision-resumed",
    breaks: "A revision of which something is forgotten is not resumed from before.",
    file: `${metadataRoom}route-history.ts`,
    replace: [
      ["this.#sinceRevision = oldest.revision;", "this.#sinceRevision = oldest.revision - 2;"],
    ],
    tests: watchTests,
  },
  {
    name: "resume-loses-a-change",
    breaks: "A client that comes back hears all that changed since its revision.",
    file: `${metadataRoom}route-history.ts`,
    replace: [["(next?.position ?? this.#position + 1) - 1", "next?.position ?? this.#position"]],
    tests: watchTests,
  },
  {
    name: "resume-inside-a-listing",
    breaks: "Who stands between revisions that a listing merged gets a snapshot.",
    file: `${metadataRoom}route-history.ts`,
    replace: [["if (next !== undefined && revision > next.after) return undefined;", ""]],
    tests: watchTests,
  },
  {
    name: "told-revision-not-resumed",
    breaks: "Every revision that a watcher was told can be resumed from.",
    file: `${metadataRoom}route-history.ts`,
    replace: [
      [
        "    this.#seenRevision = this.#view.current.revision;\n    return this.#seenRevision;",
        "    return this.#view.current.revision;",
      ],
    ],
    tests: watchTests,
  },
  {
    name: "resume-across-generations",
    breaks: "What changed between two generations is not resumed.",
    file: `${metadataRoom}route-history.ts`,
    replace: [
      ["    this.#sinceRevision = revision;\n    this.#entries = [];", "    this.#entries = [];"],
    ],
    tests: watchTests,
  },
  {
    name: "history-unbounded",
    breaks: "The memory of changes is bounded.",
    file: `${metadataRoom}route-history.ts`,
    replace: [["if (this.#names <= this.#namesMax) return;", "if (this.#names > 0) return;"]],
    tests: watchTests,
  },
  {
    name: "isr-changes-told",
    breaks: "A watcher hears nothing of what it does not route by.",
    file: `${metadataRoom}route-history.ts`,
    replace: [
      [
        "if (isSameRoute(old.topic.partitions[i], view)) continue;",
        "if (old.topic.partitions[i] === view) continue;",
      ],
    ],
    tests: watchTests,
  },
  {
    name: "made-again-unnoticed",
    breaks: "A topic that was made again is told whole.",
    file: `${metadataRoom}route-history.ts`,
    replace: [["old?.topic.id !== topic.id || ", "old === undefined || "]],
    tests: watchTests,
  },
  {
    name: "no-heartbeats",
    breaks: "A watch without news has heartbeats.",
    file: `${metadataRoom}watch.ts`,
    replace: [["      due = true;\n", ""]],
    tests: watchTests,
  },
  {
    name: "watch-holds-up-the-shutdown",
    breaks: "A watch ends when the server drains.",
    file: `${metadataRoom}watch.ts`,
    replace: [
      ["if (signal.aborted || draining.aborted) return true;", "if (signal.aborted) return true;"],
    ],
    tests: watchTests,
  },
  {
    name: "client-frozen-by-a-restore",
    breaks: "A client replaces what it knows at another generation.",
    file: `${client}metadata/view.ts`,
    replace: [["    this.#informed = 0n;\n", ""]],
    tests: viewTests,
  },
  {
    name: "client-waits-for-an-old-generation",
    breaks: "Revisions of another generation are not waited for.",
    file: `${client}metadata/view.ts`,
    replace: [["      this.#minRevision = 0n;\n", ""]],
    tests: metadataTests,
  },
  {
    name: "client-generation-unsaid",
    breaks: "A client says which generation its revision is of.",
    file: `${client}metadata/cache.ts`,
    replace: [["      generation: this.#view.generation,\n    });", "    });"]],
    tests: metadataTests,
  },
  {
    name: "client-leader-epoch-falls",
    breaks: "A client believes leader epochs only where they do not fall.",
    file: `${client}metadata/view.ts`,
    replace: [["leaderEpoch >= known.leaderEpoch", "leaderEpoch >= 0"]],
    tests: metadataTests,
  },
  {
    name: "client-newer-leader-lost",
    breaks: "A leader that only a hint has told stays reachable.",
    file: `${client}metadata/view.ts`,
    replace: [["        this.#brokers.set(broker.brokerId, broker);\n", ""]],
    tests: metadataTests,
  },
  {
    name: "client-joins-another-cluster",
    breaks: "A client speaks to one cluster.",
    file: `${client}metadata/cache.ts`,
    replace: [["        this.#view.check(answer, endpoint);\n", ""]],
    tests: metadataTests,
  },
];

const wireInputTests = ["test/integration/bad-input-wire.test.ts"];

const clusterIds: readonly Mutant[] = [
  {
    name: "brokers-call-of-another-cluster",
    breaks: "A broker refuses calls that name another cluster.",
    file: "services/broker/src/broker.ts",
    replace: [["services.map((service) => ofCluster(service, () => clusterId))", "services"]],
    tests: wireInputTests,
  },
  {
    name: "controllers-call-of-another-cluster",
    breaks: "A controller refuses calls that name another cluster.",
    file: "services/controller/src/controller.ts",
    replace: [
      ["services.map((service) => ofCluster(service, () => registry.clusterId()))", "services"],
    ],
    tests: wireInputTests,
  },
  {
    name: "watch-of-another-cluster",
    breaks: "A watch that names another cluster is refused.",
    file: "packages/rpc/src/cluster-id.ts",
    replace: [["        await check(stream.context);\n", ""]],
    tests: wireInputTests,
  },
  {
    name: "client-names-no-cluster",
    breaks: "A client names its cluster in every call.",
    file: `${client}connections.ts`,
    replace: [["metadata === undefined ? {} :", "metadata !== undefined ? {} :"]],
    tests: metadataTests,
  },
  {
    name: "cluster-id-of-any-bytes",
    breaks: "Only what can be a header is sent as one.",
    file: "packages/rpc/src/cluster-id.ts",
    replace: [["/^[\\x21-\\x7e]+$/.test(clusterId)", 'clusterId !== ""']],
    tests: metadataTests,
  },
];

const cursor = `${client}consumer/cursor.ts`;
const cursorTests = [`${client}consumer/cursor.test.ts`, `${client}consumer/consumer.test.ts`];

const fetchedEpochs: readonly Mutant[] = [
  {
    name: "epoch-of-the-first-batch",
    breaks: "A cursor tells the epoch of the last batch it read.",
    file: cursor,
    replace: [["      at = batch.bodyEnd;\n", "      at = chunk.buffer.length;\n"]],
    tests: cursorTests,
  },
  {
    name: "epoch-of-a-damaged-message",
    breaks: "Nothing is told of what cannot be read.",
    file: cursor,
    replace: [['if ("fault" in batch) return undefined;', 'if ("fault" in batch) return epoch;']],
    tests: cursorTests,
  },
  {
    name: "epoch-forgotten-when-handed-out",
    breaks: "A cursor tells the epoch of the last batch it read when nothing is buffered.",
    file: cursor,
    replace: [["    this.#openedEpoch = leaderEpoch;\n", ""]],
    tests: cursorTests,
  },
  {
    name: "epoch-of-the-old-topic",
    breaks: "A position of a topic that was made again has no epoch of the old one.",
    file: cursor,
    replace: [["    this.#openedEpoch = undefined;\n", ""]],
    tests: cursorTests,
  },
  {
    name: "fetched-epoch-unsaid",
    breaks: "The fetch stream says the last fetched epoch.",
    file: `${client}consumer/fetcher.ts`,
    replace: [["lastFetchedEpoch: cursor.lastFetchedEpoch,", "lastFetchedEpoch: undefined,"]],
    tests: cursorTests,
  },
];

export const protocolMutants: readonly Mutant[] = [
  ...errors,
  ...endpoints,
  ...features,
  ...metadata,
  ...clusterIds,
  ...fetchedEpochs,
];
