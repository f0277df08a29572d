import type { Mutant } from "../../mutant.ts";

const room = "packages/client/src/core/metadata";
const metadataTest = [`${room}/cache.test.ts`];
const serversTest = [`${room}/servers.test.ts`];

export const metadataMutants: readonly Mutant[] = [
  {
    name: "client-bootstrap-in-turn",
    breaks: "a silent first server costs the deadline of a call",
    file: `${room}/servers.ts`,
    replace: [["const nextServerMs = 250;", "const nextServerMs = 60_000;"]],
    tests: serversTest,
  },
  {
    name: "client-bootstrap-all-at-once",
    breaks: "every server is asked although the first one answers",
    file: `${room}/servers.ts`,
    replace: [["const nextServerMs = 250;", "const nextServerMs = 0;"]],
    tests: serversTest,
  },
  {
    name: "client-good-server-forgotten",
    breaks: "the server that answered last is not asked first",
    file: `${room}/servers.ts`,
    replace: [["          this.#good = endpoint;\n", ""]],
    tests: serversTest,
  },
  {
    name: "client-metadata-never-old",
    breaks: "metadata is not asked for again while nothing fails",
    file: `${room}/cache.ts`,
    replace: [["timer(this.#context.maxAgeMs, ", "timer(this.#context.maxAgeMs * 1000, "]],
    tests: metadataTest,
  },
  {
    name: "client-offsets-of-old-partitions",
    breaks: "offsets of a partition added by others are refused by its number",
    file: "packages/client/src/core/offsets.ts",
    replace: [
      [
        "if (info.partitions[partition] === undefined) info = await metadata.freshTopic(topic);",
        "if (info.partitions[partition] === null) info = await metadata.freshTopic(topic);",
      ],
    ],
    tests: metadataTest,
  },
  {
    name: "client-backoff-unbounded",
    breaks: "pauses grow without a bound",
    file: "packages/client/src/core/backoff.ts",
    replace: [["Math.min(backoffRangeMs.max, ", "Math.max(backoffRangeMs.min, "]],
    tests: metadataTest,
  },
  {
    name: "client-bootstrap-unchecked",
    breaks: "an address without a port is dialed on some other port",
    file: "packages/client/src/core/bootstrap.ts",
    replace: [
      [
        "if (endpoint === undefined) throw wrongAddress(text);",
        'if (endpoint === undefined) return { host: text, port: 7400, listener: "", tls: false, authority: "" };',
      ],
    ],
    tests: metadataTest,
  },
];
