import type { Mutant } from "../../mutant.ts";

const core = "packages/client/src/core";
const apiTest = ["packages/client/src/api.test.ts"];
const stateTest = [`${core}/state.test.ts`];
const portTest = ["packages/client/src/node/wrong-port.test.ts"];

export const apiMutants: readonly Mutant[] = [
  {
    name: "client-unknown-option-passes",
    breaks: "a mistyped option is ignored",
    file: `${core}/checks.ts`,
    replace: [["if (!known.includes(key)) throw", "if (known.length === 0) throw"]],
    tests: apiTest,
  },
  {
    name: "client-nearest-is-any",
    breaks: "an error about a mistyped key names some other key",
    file: `${core}/checks.ts`,
    replace: [
      ["ranked.sort((a, b) => a.steps - b.steps)", "ranked.sort((a, b) => b.steps - a.steps)"],
    ],
    tests: apiTest,
  },
  {
    name: "client-arguments-checked-late",
    breaks: "a server is asked before a wrong argument is refused",
    file: `${core}/admin.ts`,
    replace: [
      [
        "    check.describeLogs(of);\n    const { brokers } = await this.cluster();\n",
        "    const { brokers } = await this.cluster();\n    check.describeLogs(of);\n",
      ],
    ],
    tests: apiTest,
  },
  {
    name: "client-mistyped-value-is-a-tombstone",
    breaks: "a record whose value is mistyped becomes a tombstone once a thousand were right",
    file: `${core}/producer/producer.ts`,
    replace: [[" || given?.value === undefined", ""]],
    tests: apiTest,
  },
  {
    name: "client-value-of-any-type",
    breaks: "a value that is no string and no bytes is sent as something",
    file: `${core}/producer/input.ts`,
    replace: [["ArrayBuffer.isView(value) && ", "ArrayBuffer.isView(value) || "]],
    tests: apiTest,
  },
  {
    name: "client-header-list-in-object-lost",
    breaks: "of a header with several values all but one are lost",
    file: `${core}/producer/input.ts`,
    replace: [
      [
        "for (const one of value) list.push(toHeader(name, one));",
        "list.push(toHeader(name, value[0]));",
      ],
    ],
    tests: apiTest,
  },
  {
    name: "client-first-header",
    breaks: "header() gives the first of several, not the last",
    file: `${core}/consumer/record.ts`,
    replace: [["this.headers.findLast(", "this.headers.find("]],
    tests: apiTest,
  },
  {
    name: "client-null-is-serialized",
    breaks: "a tombstone cannot be sent through a serializer",
    file: `${core}/producer/serialize.ts`,
    replace: [
      [
        "if (data === null || data === undefined) return null;",
        "if (data === undefined) return null;",
      ],
    ],
    tests: apiTest,
  },
  {
    name: "client-bad-record-is-passed",
    breaks: "a record that cannot be deserialized is lost: the next iteration begins behind it",
    file: `${core}/consumer/consumer.ts`,
    replace: [
      [
        "    const record = make(next);\n    cursor.takeRecord();\n",
        "    cursor.takeRecord();\n    const record = make(next);\n",
      ],
    ],
    tests: apiTest,
  },
  {
    name: "client-bad-record-takes-its-batch",
    breaks: "records before one that cannot be deserialized are not handed out",
    file: `${core}/consumer/consumer.ts`,
    replace: [
      ["if (records.length === 0) throw thrown;", "if (records.length >= 0) throw thrown;"],
    ],
    tests: apiTest,
  },
  {
    name: "client-write-loses-what-does-not-fit",
    breaks: "the record of a write that returned false is lost",
    file: `${core}/producer/producer.ts`,
    replace: [
      [
        "} else this.#waitForRoom(record, bytes, waiter);",
        "} else if (waiter !== undefined) this.#waitForRoom(record, bytes, waiter);",
      ],
    ],
    tests: apiTest,
  },
  {
    name: "client-drained-at-once",
    breaks: "drained resolves while records wait for room",
    file: `${core}/producer/producer.ts`,
    replace: [
      [
        "if (this.#isDrained || this.#closed) return Promise.resolve();",
        "if (this.#isDrained || !this.#closed) return Promise.resolve();",
      ],
    ],
    tests: apiTest,
  },
  {
    name: "client-option-topic-is-kept",
    breaks: "what is assigned does not take the place of the topic in the options",
    file: `${core}/consumer/consumer.ts`,
    replace: [["    this.#unassigned = undefined;\n", ""]],
    tests: apiTest,
  },
  {
    name: "client-unknown-topic-late",
    breaks: "an unknown topic is an error only after seconds",
    file: `${core}/metadata/cache.ts`,
    replace: [["const unknownTopicMs = 700;", "const unknownTopicMs = 2_000;"]],
    tests: apiTest,
  },
  {
    name: "client-state-silent-about-the-lost",
    breaks: "nobody is told that the connection of a producer is lost",
    file: `${core}/producer/dispatcher.ts`,
    replace: [["    this.#events.onLost(sender.endpoint, error);\n    void this", "    void this"]],
    tests: stateTest,
  },
  {
    name: "client-state-waits-once",
    breaks: "it is told once that something waits, and not for how long",
    file: `${core}/state.ts`,
    replace: [
      [
        "nowMs - (this.#toldMs ?? sinceMs) < tellMs",
        "this.#toldMs !== undefined && nowMs - sinceMs > 1.5 * tellMs",
      ],
    ],
    tests: stateTest,
  },
  {
    name: "client-state-resumes-too-soon",
    breaks: "an idle producer says that it goes on while its server is down",
    file: `${core}/producer/held-up.ts`,
    replace: [
      [
        "  return (inFlight.length > 0",
        "  if (oldest === undefined) return undefined;\n  return (inFlight.length > 0",
      ],
    ],
    tests: stateTest,
  },
  {
    name: "client-state-never-reopens",
    breaks: "an idle producer never says that its server is back",
    file: `${core}/producer/dispatcher.ts`,
    replace: [["      sender?.reopen();\n", ""]],
    tests: stateTest,
  },
  {
    name: "client-state-trusts-the-silent",
    breaks: "a server that does not answer holds nothing up",
    file: `${core}/producer/sender.ts`,
    replace: [
      [
        'const sinceMs = this.#state === "opening" ? this.#openedMs : this.oldestSentMs;',
        'const sinceMs = this.#state === "opening" ? this.#openedMs : undefined;',
      ],
    ],
    tests: stateTest,
  },
  {
    name: "client-state-consumer-held-up-unseen",
    breaks: "a consumer whose stream is lost says nothing of waiting",
    file: `${core}/consumer/cursor.ts`,
    replace: [
      [
        'state.name === "detached" ? this.lastError : undefined',
        'state.name === "detached" ? undefined : undefined',
      ],
    ],
    tests: stateTest,
  },
  {
    name: "client-state-never-probes",
    breaks: "a quiet server that hangs is told only once its heartbeats are overdue",
    file: `${core}/consumer/consumer.ts`,
    replace: [["    this.#leaders.probeQuiet();\n", ""]],
    tests: stateTest,
  },
  {
    name: "client-state-throws",
    breaks: "an exception of onState ends the client",
    file: `${core}/state.ts`,
    replace: [
      [
        "    } catch (thrown) {\n      this.#context.logger.warn",
        "    } catch (thrown) {\n      throw thrown;\n      this.#context.logger.warn",
      ],
    ],
    tests: stateTest,
  },
  {
    name: "client-http-port-unseen",
    breaks: "the HTTP port is told as any server that does not answer",
    file: "packages/client/src/node/wrong-port.ts",
    replace: [['=== "HTTP/"', '=== "HTTP1"']],
    tests: portTest,
  },
  {
    name: "client-tls-port-unseen",
    breaks: "a port with TLS is told as any server that does not answer",
    file: "packages/client/src/node/wrong-port.ts",
    replace: [
      [
        'socket.once("secureConnect", () => end(true));',
        'socket.once("secureConnect", () => end(false));',
      ],
    ],
    tests: portTest,
  },
  {
    name: "client-health-port-unseen",
    breaks: "the health port is told as an unknown method",
    file: `${core}/metadata/cache.ts`,
    replace: [
      [
        "if (last.code === ErrorCode.UNSUPPORTED_OPERATION) {",
        "if (last.code === ErrorCode.INTERNAL) {",
      ],
    ],
    tests: portTest,
  },
  {
    name: "rpc-texts-of-the-library",
    breaks: "errors show the texts of grpc-js",
    file: "packages/rpc/src/grpc/client/dialer.ts",
    replace: [["errorOf(failure, (text) => failureText(this.endpoint, text))", "errorOf(failure)"]],
    tests: ["packages/rpc/src/grpc/client/failure-text.test.ts"],
  },
  {
    name: "error-prints-a-number",
    breaks: "an error prints without the name of its code",
    file: "packages/errors/src/error.ts",
    replace: [['(this, "name", ', '(this, "title", ']],
    tests: ["packages/errors/src/error.test.ts"],
  },
];
