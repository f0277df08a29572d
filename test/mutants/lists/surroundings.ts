/** Mutants of the surroundings of a server: addresses, descriptors, standard streams, installation. */
import type { Mutant } from "../mutant.ts";

export const surroundingsMutants: readonly Mutant[] = [
  {
    name: "absent-topic-under-default-retention",
    breaks: "A log whose topic is not in the metadata is kept whole.",
    file: "services/broker/src/process/parts.ts",
    replace: [["known === undefined ? { ...config, retentionEnabled: false } : config", "config"]],
    tests: ["services/standalone/src/boot/boot.test.ts"],
  },
  {
    name: "wildcard-told-to-clients",
    breaks: "Clients are told an address that they can connect to.",
    file: "packages/server/src/node/address.ts",
    replace: [
      [
        "if (!isWildcard(host)) return { endpoint: listening, guessed: false };",
        'if (host !== "") return { endpoint: listening, guessed: false };',
      ],
    ],
    tests: ["packages/server/src/node/address.test.ts"],
  },
  {
    name: "wildcard-advertised",
    breaks: "--advertise takes no wildcard and no port 0.",
    file: "packages/server/src/node/address.ts",
    replace: [["if (!isWildcard(host) && port > 0) return;", "if (port >= 0) return;"]],
    tests: ["packages/server/src/node/address.test.ts"],
  },
  {
    name: "files-beyond-the-limit",
    breaks: "Kept files and connections fit into the limit of the process.",
    file: "packages/server/src/node/open-files.ts",
    replace: [
      [
        "const openFilesMax = Math.min(wanted.openFilesMax, free - connectionsMax);",
        "const { openFilesMax } = wanted;",
      ],
    ],
    tests: ["packages/server/src/node/open-files.test.ts"],
  },
  {
    name: "node-disk-waits-by-itself",
    breaks: "The Node disk tells a failure at once: only its caller knows what to wait for.",
    file: "packages/env/src/node/disk.ts",
    replace: [
      [
        "  list: (path) => fs.readdir(join(root, path)),",
        "  list: (path) => fs.readdir(join(root, path)).catch(() => fs.readdir(join(root, path))),",
      ],
    ],
    tests: ["packages/env/src/node/node.test.ts"],
  },
  {
    name: "epipe-ends-the-process",
    breaks: "A log whose reader is gone does not end the process.",
    file: "packages/observability/src/output.ts",
    replace: [['    target.on("error", () => {\n      this.#gone = true;\n    });\n', ""]],
    tests: [
      "packages/observability/src/observability.test.ts",
      "test/integration/surroundings.test.ts",
    ],
  },
  {
    name: "log-waits-for-a-pipe",
    breaks: "A log that nobody reads does not stop the server from answering or ending.",
    file: "packages/observability/src/output.ts",
    replace: [
      [
        "if (fstatSync(1).isFile()) return new FileOutput(1);",
        "if (fstatSync(1) !== undefined) return new FileOutput(1);",
      ],
    ],
    tests: ["test/integration/surroundings.test.ts"],
  },
  {
    name: "log-queue-unbounded",
    breaks: "A log that nobody reads is bounded in memory.",
    file: "packages/observability/src/output.ts",
    replace: [
      ["this.#gone || this.#target.writableLength + line.length > logQueueBytesMax", "this.#gone"],
    ],
    tests: ["packages/observability/src/observability.test.ts"],
  },
  {
    name: "message-bytes-above-a-request",
    breaks: "max.message.bytes is at most what a request can carry.",
    file: "packages/config/src/topic.ts",
    replace: [["    max: messageBytesMax,\n", "    max: 16 * 1024 * 1024,\n"]],
    tests: ["packages/config/src/config.test.ts"],
  },
  {
    name: "empty-variable-is-a-value",
    breaks: "An empty environment variable is an unset one.",
    file: "packages/config/src/schema.ts",
    replace: [
      [
        '} else if (fromEnvironment !== "") {',
        "} else if (Object.hasOwn(raw.environment, environmentName(key))) {",
      ],
    ],
    tests: ["packages/config/src/config.test.ts"],
  },
  {
    name: "lock-file-time-is-truth",
    breaks: "An installation is judged by its content.",
    file: "tools/ensure.mjs",
    replace: [
      [
        "const isInstalled = (lockBytes) => {\n",
        "const isInstalled = (lockBytes) => {\n" +
          "  const time = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);\n" +
          '  if (time(join(modules, ".package-lock.json")) < time(lockPath)) return false;\n',
      ],
    ],
    tests: ["test/integration/ensure.test.ts"],
  },
  {
    name: "files-gone-unnoticed",
    breaks: "A package whose files are gone is installed again.",
    file: "tools/ensure.mjs",
    replace: [["return isRecorded && firstGone(lock) === undefined;", "return isRecorded;"]],
    tests: ["test/integration/ensure.test.ts"],
  },
  {
    name: "runtime-not-tried",
    breaks: "A Node that cannot run is told in one sentence.",
    file: "tools/ensure.mjs",
    replace: [["if (existsSync(own)) checkOwnRuntime(own);", ""]],
    tests: ["test/integration/ensure.test.ts"],
  },
  {
    name: "install-in-place",
    breaks: "An installation that fails leaves the one that works.",
    file: "tools/ensure.mjs",
    replace: [
      [
        '  console.error("Installing dependencies (once)…");\n',
        '  console.error("Installing dependencies (once)…");\n  rmSync(modules, { recursive: true, force: true });\n',
      ],
    ],
    tests: ["test/integration/ensure.test.ts"],
  },
  {
    name: "runtime-may-be-omitted",
    breaks: "The runtime is installed under omit=optional.",
    file: "tools/ensure.mjs",
    replace: [["(fits.includes(true) && !entry.libc)", "false"]],
    tests: ["test/integration/ensure.test.ts"],
  },
  {
    name: "standalone-endpoints-half-written",
    breaks: "The file of endpoints is there as a whole or not at all.",
    file: "packages/server/src/node/endpoints.ts",
    replace: [
      ["  writeFileSync(temporary,", "  writeFileSync(path,"],
      ["  renameSync(temporary, path);\n", "  renameSync(path, path);\n"],
    ],
    tests: ["packages/server/src/node/endpoints.test.ts"],
  },
  {
    name: "ready-before-it-says-where",
    breaks: "A server that is ready has written endpoints.json.",
    file: "packages/server/src/node/server.ts",
    replace: [
      [
        "(isTold || !readiness.state.ready ? readiness.state : new Readiness().state)",
        "readiness.state",
      ],
    ],
    tests: ["packages/server/src/node/server.test.ts"],
  },
];
