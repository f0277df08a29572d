import type { Mutant } from "../mutant.ts";

const admission = "packages/rpc/src/grpc/server/admission/";
const admissionTests = [`${admission}admission.test.ts`];
const duplex = "packages/rpc/src/grpc/server/http2/duplex.ts";
const duplexTests = ["packages/rpc/src/grpc/server/http2/duplex.test.ts"];
const framing = "packages/rpc/src/grpc/http2/framing.ts";
const messageStream = "packages/rpc/src/grpc/http2/message-stream.ts";
const client = "packages/rpc/src/grpc/client/";
const callTests = [`${client}http2-call.test.ts`];
const bidiTests = [`${client}bidi.test.ts`];
const grpcTests = ["packages/rpc/src/grpc/grpc.test.ts"];

const limits: readonly Mutant[] = [
  {
    name: "budget-not-given-back",
    breaks: "The bytes of a call leave its budget with it.",
    file: `${admission}admitted-stream.ts`,
    replace: [["    this.#owner.release(this.#buffered);\n", ""]],
    tests: admissionTests,
  },
  {
    name: "budget-without-its-parents",
    breaks: "The bytes of a connection are its address's and the server's.",
    file: `${admission}byte-budget.ts`,
    replace: [["    this.parent?.remove(bytes);", ""]],
    tests: admissionTests,
  },
  {
    name: "smallest-call-evicted",
    breaks: "The call that buffers most is ended when a budget is full.",
    file: `${admission}admission.ts`,
    replace: [
      [
        "if (stream.buffered > (largest?.buffered ?? 0)) largest = stream;",
        "if (stream.buffered < (largest?.buffered ?? Infinity)) largest = stream;",
      ],
    ],
    tests: admissionTests,
  },
  {
    name: "neighbours-evicted",
    breaks: "A full budget of a connection costs no other connection's calls.",
    file: `${admission}admission.ts`,
    replace: [["if (!budget.covers(connection.budget)) continue;", ""]],
    tests: admissionTests,
  },
  {
    name: "streams-per-connection-off-by-one",
    breaks: "A connection has at most as many calls as clients are told.",
    file: `${admission}admission.ts`,
    replace: [
      [
        "if (streams.size >= limits.streamsPerConnectionMax) {",
        "if (streams.size > limits.streamsPerConnectionMax) {",
      ],
    ],
    tests: admissionTests,
  },
  {
    name: "connections-off-by-one",
    breaks: "A server has at most connectionsMax connections.",
    file: `${admission}admission.ts`,
    replace: [
      [
        "this.#connections.size >= limits.connectionsMax",
        "this.#connections.size > limits.connectionsMax",
      ],
    ],
    tests: admissionTests,
  },
  {
    name: "connection-rate-unlimited",
    breaks: "New connections of an address are bounded in their rate.",
    file: `${admission}admission.ts`,
    replace: [["if (limits.connectionRateMax > 0) address.tokens -= 1;", ""]],
    tests: admissionTests,
  },
  {
    name: "closed-calls-still-count",
    breaks: "A call that has ended makes room for another.",
    file: `${admission}admission.ts`,
    replace: [["    this.address.streams -= 1;\n", ""]],
    tests: admissionTests,
  },
  {
    name: "evictions-uncounted",
    breaks: "A connection whose calls are evicted again and again is closed.",
    file: `${admission}admission.ts`,
    replace: [["if (this.#evictions.add(this.nowMs)) this.#close(limit, false);", ""]],
    tests: admissionTests,
  },
  {
    name: "rate-counter-never-starts-again",
    breaks: "A rate is counted per period.",
    file: `${admission}rate-counter.ts`,
    replace: [["      this.#count = 0;\n", ""]],
    tests: admissionTests,
  },
  {
    name: "begun-bytes-uncounted",
    breaks: "A message counts in full length as soon as it begins.",
    file: `${admission}admitted-stream.ts`,
    replace: [["if (this.#framing.begunBytes !== this.#begun) this.#begin();", ""]],
    tests: admissionTests,
  },
  {
    name: "message-bound-off-by-one",
    breaks: "A message above its method's bound is refused at its prefix.",
    file: `${admission}framing.ts`,
    replace: [
      [
        "if (this.#length > this.#bytesMax) return",
        "if (this.#length > this.#bytesMax + 1) return",
      ],
    ],
    tests: admissionTests,
  },
  {
    name: "compressed-messages-taken",
    breaks: "A message that says it is compressed is refused.",
    file: `${admission}framing.ts`,
    replace: [["if (byte !== 0) this.flagged = true;", "if (byte > 1) this.flagged = true;"]],
    tests: admissionTests,
  },
  {
    name: "cut-off-request-taken",
    breaks: "A request that ends inside a message is refused.",
    file: `${admission}admitted-stream.ts`,
    replace: [
      [
        "if (this.#framing.unfinished) {\n      this.#malformed",
        "if (this.#messagesSeen < 0) {\n      this.#malformed",
      ],
    ],
    tests: admissionTests,
  },
  {
    name: "unary-takes-two-messages",
    breaks: "A unary request is one message.",
    file: `${admission}admitted-stream.ts`,
    replace: [
      [
        "this.#shape.single && this.#messagesSeen > 1",
        "this.#shape.single && this.#messagesSeen > 2",
      ],
    ],
    tests: admissionTests,
  },
  {
    name: "slow-readers-stay",
    breaks: "A call whose client takes nothing is ended.",
    file: `${admission}admitted-stream.ts`,
    replace: [
      ["this.#queued > 0 && nowMs - this.#sentMs > limits.slowReaderTimeoutMs", "this.#queued < 0"],
    ],
    tests: admissionTests,
  },
  {
    name: "trickles-stay",
    breaks: "A message that trickles is ended, however steadily it comes.",
    file: `${admission}admitted-stream.ts`,
    replace: [["nowMs - this.#messageMs > 4 * limits.requestTimeoutMs", "nowMs < 0"]],
    tests: admissionTests,
  },
  {
    name: "our-own-slowness-blamed",
    breaks: "A client that waits for the server is not ended for silence.",
    file: `${admission}admitted-stream.ts`,
    replace: [["if (this.#handle.unreadBytes() > 0) {", "if (this.#handle.unreadBytes() < 0) {"]],
    tests: admissionTests,
  },
  {
    name: "window-grows-with-what-came",
    breaks: "A connection's window grows with the bytes that handlers took.",
    file: `${admission}admission.ts`,
    replace: [
      ["if (this.#takenBytes < this.#windowBytes) return;", "if (this.#takenBytes < 0) return;"],
    ],
    tests: admissionTests,
  },
  {
    name: "overhead-unbounded",
    breaks: "A connection that sends only frames is closed.",
    file: `${admission}admission.ts`,
    replace: [["if (rate > limits.overheadBytesRateMax)", "if (rate > Infinity)"]],
    tests: admissionTests,
  },
  {
    name: "idle-connections-stay",
    breaks: "A connection without calls is closed in time.",
    file: `${admission}admission.ts`,
    replace: [["nowMs - this.#idleSinceMs > limits.connectionIdleMs", "nowMs < 0"]],
    tests: admissionTests,
  },
  {
    name: "ipv6-by-host",
    breaks: "The limits of an IPv6 host hold for its /64.",
    file: `${admission}admission.ts`,
    replace: [["all.slice(0, 4)", "all.slice(0, 8)"]],
    tests: admissionTests,
  },
  {
    name: "late-event-loop-lets-in",
    breaks: "A server whose event loop is late refuses new calls.",
    file: `${admission}admission.ts`,
    replace: [['      return refuse("event_loop_delay",', '      void refuse("event_loop_delay",']],
    tests: admissionTests,
  },
];

const clientCalls: readonly Mutant[] = [
  {
    name: "client-end-before-messages",
    breaks: "A call ends behind the messages before its end.",
    file: `${client}http2-call.ts`,
    replace: [
      [
        "    this.#status = toldBy(headers, this.#httpStatus);\n",
        "    this.#status = toldBy(headers, this.#httpStatus);\n    this.#endsAsTold(this.#status);\n",
      ],
    ],
    tests: callTests,
  },
  {
    name: "client-cut-looks-like-the-end",
    breaks: "A connection that breaks before all was read is no end of a call.",
    file: `${client}http2-call.ts`,
    replace: [["if (told === undefined || told.code === status.OK)", "if (told === undefined)"]],
    tests: callTests,
  },
  {
    name: "client-waiting-out-of-order",
    breaks: "What waits for a connection is sent in order.",
    file: `${client}http2-call.ts`,
    replace: [["this.#waiting.push(", "this.#waiting.unshift("]],
    tests: callTests,
  },
  {
    name: "client-half-close-forgotten",
    breaks: "A call that ended before it had a connection ends on it.",
    file: `${client}http2-call.ts`,
    replace: [["    if (this.#isHalfClosed) stream.end();\n", ""]],
    tests: callTests,
  },
  {
    name: "client-failed-call-begins",
    breaks: "A call that failed while it waited does not begin.",
    file: `${client}http2-call.ts`,
    replace: [["    if (this.#isOver) return;\n    let stream", "    let stream"]],
    tests: callTests,
  },
  {
    name: "client-large-message-taken",
    breaks: "A message above the bound ends the call at its prefix.",
    file: framing,
    replace: [["    if (length > this.#bytesMax) throw tooLarge(length, this.#bytesMax);\n", ""]],
    tests: callTests,
  },
  {
    name: "client-compressed-taken",
    breaks: "A compressed message is refused.",
    file: framing,
    replace: [["    if (flag !== 0) throw", "    if (flag > 1) throw"]],
    tests: callTests,
  },
  {
    name: "client-sends-what-is-too-large",
    breaks: "A message above the bound is not sent.",
    file: `${client}http2-call.ts`,
    replace: [["if (queued.bytes > this.#options.sentBytesMax) {", "if (queued.bytes < 0) {"]],
    tests: callTests,
  },
  {
    name: "client-failure-not-told",
    breaks: "A call that fails is reset.",
    file: `${client}http2-call.ts`,
    replace: [["    else stream.close(told ?", "    else void (told ?"]],
    tests: callTests,
  },
  {
    name: "client-end-is-a-reset",
    breaks: "The end of a call is no reset, which a server would count.",
    file: `${client}http2-call.ts`,
    replace: [["if (told && stream.writableLength === 0)", "if (told && stream.destroyed)"]],
    tests: callTests,
  },
  {
    name: "read-messages-held",
    breaks: "What was read is not held for a reader who is always behind.",
    file: messageStream,
    replace: [["this.#next >= heldMax && ", "this.#next < 0 && "]],
    tests: ["packages/rpc/src/grpc/http2/message-stream.test.ts"],
  },
  {
    name: "empty-messages-unbounded",
    breaks: "Empty messages count towards what a stream is read ahead, too.",
    file: messageStream,
    replace: [["const messageCostBytes = 128;", "const messageCostBytes = 0;"]],
    tests: duplexTests,
  },
  {
    name: "client-waits-for-its-first-connection",
    breaks: "A call that waits outlives a connection that ends as it begins.",
    file: `${client}connection.ts`,
    replace: [["      mayBeLate ||= state !== READY;\n", ""]],
    tests: bidiTests,
  },
  {
    name: "client-metadata-unchecked",
    breaks: "Metadata that no header can carry are refused at once.",
    file: `${client}dialer.ts`,
    replace: [["...fromMap(metadata).toHttp2Headers(),", "...Object.fromEntries(metadata ?? []),"]],
    tests: bidiTests,
  },
  {
    name: "client-refused-stream-is-final",
    breaks: "A stream that was refused may be tried again.",
    file: `${client}http2-call.ts`,
    replace: [["  [constants.NGHTTP2_REFUSED_STREAM, status.UNAVAILABLE],\n", ""]],
    tests: callTests,
  },
  {
    name: "client-broken-connection-is-a-cancel",
    breaks: "A broken connection is UNAVAILABLE.",
    file: `${client}http2-call.ts`,
    replace: [["!(isGone && byCode === status.CANCELLED)", "byCode !== status.OK"]],
    tests: callTests,
  },
  {
    name: "client-text-of-a-status-encoded",
    breaks: "The text of a status is decoded.",
    file: `${client}http2-call.ts`,
    replace: [
      [
        'typeof message === "string" ? decoded(message) : ""',
        'typeof message === "string" ? message : ""',
      ],
    ],
    tests: callTests,
  },
  {
    name: "client-http-status-ignored",
    breaks: "An HTTP status without one of gRPC says what happened.",
    file: `${client}http2-call.ts`,
    replace: [["return httpFailure(this.#httpStatus);", "return httpFailure(200);"]],
    tests: callTests,
  },
  {
    name: "client-deadline-kept-secret",
    breaks: "A server knows the deadline of a call.",
    file: `${client}dialer.ts`,
    replace: [["      isBounded(timeoutMs)\n        ? {", "      timeoutMs === -1\n        ? {"]],
    tests: bidiTests,
  },
  {
    name: "client-deadline-not-kept",
    breaks: "A call ends at its deadline.",
    file: `${client}dialer.ts`,
    replace: [["if (isBounded(timeoutMs) && timeoutMs <= timerMsMax)", "if (timeoutMs === -1)"]],
    tests: bidiTests,
  },
  {
    name: "client-process-ends-in-a-call",
    breaks: "A process lives as long as a call is open.",
    file: `${client}dialer.ts`,
    replace: [
      ["    if (this.#live.size === 0) this.#hold = setInterval(() => {}, timerMsMax);\n", ""],
    ],
    tests: bidiTests,
  },
  {
    name: "client-process-never-ends",
    breaks: "A process may end when its calls are over.",
    file: `${client}dialer.ts`,
    replace: [["      if (this.#live.size === 0) clearInterval(this.#hold);\n", ""]],
    tests: bidiTests,
  },
  {
    name: "client-refusal-not-told",
    breaks: "A call that cannot connect says why.",
    file: `${client}dialer.ts`,
    replace: [["          else ask();\n", "          else call.ends(closedFailure);\n"]],
    tests: bidiTests,
  },
  {
    name: "client-answer-not-heard",
    breaks: "A server that answers a call is alive.",
    file: `${client}dialer.ts`,
    replace: [["      onAnswer: () => this.#heard(attempt),", "      onAnswer: () => {},"]],
    tests: bidiTests,
  },
  {
    name: "client-connects-while-it-closes",
    breaks: "A client that is closed connects no more.",
    file: `${client}connection.ts`,
    replace: [
      [
        "const state = channel.getConnectivityState(false);",
        "const state = channel.getConnectivityState(true);",
      ],
    ],
    tests: bidiTests,
  },
  {
    name: "client-misses-its-connection",
    breaks: "A call begins once there is a connection.",
    file: `${client}connection.ts`,
    replace: [["state === READY && mayBeLate", "state === IDLE && mayBeLate"]],
    tests: bidiTests,
  },
  {
    name: "client-waits-on",
    breaks: "Whoever waits no longer for a connection is not called.",
    file: `${client}connection.ts`,
    replace: [["  return () => {\n    isOver = true;\n  };", "  return () => {};"]],
    tests: bidiTests,
  },
];

const carrier: readonly Mutant[] = [
  {
    name: "message-across-chunks-lost",
    breaks: "A message is whole however its bytes are cut.",
    file: framing,
    replace: [["        this.#have += take;\n", ""]],
    tests: duplexTests,
  },
  {
    name: "large-piece-out-of-order",
    breaks: "The pieces of a message are sent in order.",
    file: framing,
    replace: [
      [
        "    if (end > at) frames.push(small.subarray(at, end));\n    at = end;\n    frames.push(part);",
        "    frames.push(part);\n    if (end > at) frames.push(small.subarray(at, end));\n    at = end;",
      ],
    ],
    tests: duplexTests,
  },
  {
    name: "read-queue-unbounded",
    breaks: "A stream is read no further than its bound.",
    file: messageStream,
    replace: [
      [
        "if (!this.#paused && this.#receivedBytes >= readQueueBytesMax) {",
        "if (this.#receivedBytes < 0) {",
      ],
    ],
    tests: [...duplexTests, ...grpcTests],
  },
  {
    name: "write-queue-says-room",
    breaks: "write returns false when the queue is above its bound.",
    file: duplex,
    replace: [
      [
        "    this.send(stream, queued);\n    return this.queue.hasRoom;",
        "    this.send(stream, queued);\n    return true;",
      ],
    ],
    tests: [...duplexTests, ...grpcTests],
  },
  {
    name: "writer-not-woken",
    breaks: "A writer that waits for room goes on when there is some.",
    file: "packages/rpc/src/send-queue.ts",
    replace: [["    if (this.hasRoom) this.#drains.wake();\n", ""]],
    tests: ["packages/rpc/src/send-queue.test.ts"],
  },
  {
    name: "writer-waits-for-a-closed-queue",
    breaks: "Nobody waits for room in a queue that nothing is written to any more.",
    file: "packages/rpc/src/send-queue.ts",
    replace: [["    this.#open = false;\n    this.#drains.wake();", "    this.#open = false;"]],
    tests: ["packages/rpc/src/send-queue.test.ts"],
  },
  {
    name: "deadline-ignored",
    breaks: "A call ends at its deadline.",
    file: "packages/rpc/src/grpc/server/http2/stream-context.ts",
    replace: [["if (Number.isFinite(timeoutMs)) timer", "if (timeoutMs < 0) timer"]],
    tests: grpcTests,
  },
  {
    name: "shutdown-cuts-what-is-unread",
    breaks: "A shutdown waits for what handlers have written and slow clients have not read yet.",
    file: "packages/rpc/src/grpc/server/server.ts",
    replace: [["void this.#listener?.idle().then(", "void Promise.resolve().then("]],
    tests: grpcTests,
  },
  {
    name: "timeout-unit-confused",
    breaks: "grpc-timeout is read in its unit.",
    file: "packages/rpc/src/grpc/server/timeout.ts",
    replace: [["S: 1000, m: 1,", "S: 1000, m: 1000,"]],
    tests: grpcTests,
  },
  {
    name: "emfile-at-accept-ends-the-process",
    breaks: "A connection that cannot be accepted ends nothing.",
    file: "packages/observability/src/http.ts",
    replace: [
      [
        'server.removeAllListeners("error").on("error", () => onRefused?.());',
        'server.removeAllListeners("error");',
      ],
    ],
    tests: ["packages/observability/src/observability.test.ts"],
  },
];

const messages: readonly Mutant[] = [
  {
    name: "elements-uncounted",
    breaks: "A request that would become too many objects is refused before it is decoded.",
    file: "packages/rpc/src/prescan.ts",
    replace: [
      ["return this.#elements > elementsMax;", "return this.#elements > 100 * elementsMax;"],
    ],
    tests: ["packages/rpc/src/prescan.test.ts"],
  },
  {
    name: "depth-unbounded",
    breaks: "Messages in messages are bounded.",
    file: "packages/rpc/src/prescan.ts",
    replace: [['if (depth > depthMax) return "too_many";', ""]],
    tests: ["packages/rpc/src/prescan.test.ts"],
  },
  {
    name: "packed-numbers-uncounted",
    breaks: "Packed numbers count one by one.",
    file: "packages/rpc/src/prescan.ts",
    replace: [["this.#count(text ? 1 : end - start)", "this.#count(1)"]],
    tests: ["packages/rpc/src/prescan.test.ts"],
  },
  {
    name: "internal-error-tells-its-text",
    breaks: "The text of an unexpected error stays on the server.",
    file: "packages/rpc/src/status.ts",
    replace: [
      [
        'unexpected ? "an unexpected error: see the server\'s log" :',
        'unexpected && thrown === undefined ? "" :',
      ],
    ],
    tests: ["packages/rpc/src/status.test.ts", ...grpcTests],
  },
  {
    name: "error-text-unbounded",
    breaks: "The text of an error fits into headers.",
    file: "packages/rpc/src/status.ts",
    replace: [["if (bytes.length <= errorTextBytesMax) return", "if (bytes.length > 0) return"]],
    tests: ["packages/rpc/src/status.test.ts"],
  },
  {
    name: "foreign-reason-trusted",
    breaks: "Error details of another domain are not taken for ours.",
    file: "packages/rpc/src/status.ts",
    replace: [["if (info?.domain === ERROR_DOMAIN) {", "if (info !== undefined) {"]],
    tests: ["packages/rpc/src/status.test.ts"],
  },
  {
    name: "retry-delay-in-seconds",
    breaks: "The pause before a retry arrives as it was sent.",
    file: "packages/rpc/src/status.ts",
    replace: [["(error.retryAfterMs % 1000) * 1e6", "(error.retryAfterMs % 1000) * 1e3"]],
    tests: ["packages/rpc/src/status.test.ts", ...grpcTests],
  },
  {
    name: "reflection-without-details",
    breaks: "Tools can read the details of errors.",
    file: "packages/rpc/src/reflection.ts",
    replace: [["    this.#add(file_google_rpc_error_details);\n", ""]],
    tests: ["packages/rpc/src/reflection.test.ts"],
  },
];

export const rpcMutants: readonly Mutant[] = [...limits, ...clientCalls, ...carrier, ...messages];
