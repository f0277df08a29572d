import type { Mutant } from "../../mutant.ts";

const rpcClient = "packages/rpc/src/grpc/client/dialer.ts";
const rpcClientTest = ["packages/rpc/src/grpc/client/dialer.test.ts"];

export const rpcClientMutants: readonly Mutant[] = [
  {
    name: "rpc-connect-unbounded",
    breaks: "a connection that is accepted and never answered is waited for, for ever",
    file: rpcClient,
    replace: [
      [
        "if (state !== connectivityState.CONNECTING) return;",
        "if (state === connectivityState.CONNECTING) return;",
      ],
    ],
    tests: rpcClientTest,
  },
  {
    name: "rpc-connect-time-shared",
    breaks: "a connection is given up at the end of the time of the one before it",
    file: rpcClient,
    replace: [["if (client === this.#client) this.#superviseNoMore();", "void client;"]],
    tests: rpcClientTest,
  },
  {
    name: "rpc-deadline-is-no-trouble",
    breaks: "calls that time out on a frozen connection never make the channel dial anew",
    file: rpcClient,
    replace: [["  status.DEADLINE_EXCEEDED,\n", ""]],
    tests: rpcClientTest,
  },
  {
    name: "rpc-silent-stream-is-no-trouble",
    breaks: "streams given up for silence never make the channel dial anew",
    file: rpcClient,
    replace: [["if (error.code === ErrorCode.UNAVAILABLE) this.#unanswered(attempt);", ""]],
    tests: rpcClientTest,
  },
  {
    name: "rpc-slow-calls-cost-the-connection",
    breaks: "slow calls make the channel drop a connection that works",
    file: rpcClient,
    replace: [
      [
        "if (client !== this.#client || this.#lastHeardMs > startedMs) return;",
        "if (client !== this.#client) return;",
      ],
      ["          this.#heard(attempt);\n          try {", "          try {"],
    ],
    tests: rpcClientTest,
  },
  {
    name: "rpc-no-ping-without-calls",
    breaks: "a connection that freezes between short calls is not found by pings",
    file: rpcClient,
    replace: [
      ['"grpc.keepalive_permit_without_calls": 1,', '"grpc.keepalive_permit_without_calls": 0,'],
    ],
    tests: rpcClientTest,
  },
  {
    name: "rpc-proxy-variables",
    breaks: "http_proxy leads away from a broker",
    file: rpcClient,
    replace: [['"grpc.enable_http_proxy": 0,', '"grpc.enable_http_proxy": 1,']],
    tests: rpcClientTest,
  },
];
