/** Other languages and containers: the examples, the guide, the image. */
import type { Mutant } from "../mutant.ts";

const examples = ["test/languages/examples.test.ts"];
const stubs = ["test/languages/stubs.test.ts"];
const container = ["test/packs/container.test.ts"];

const languageMutants: readonly Mutant[] = [
  {
    name: "examples-python-signed-hash",
    breaks: "Python puts a key where all clients do.",
    file: "examples/python/batches.py",
    replace: [["& 0x7FFFFFFF) % partitions", ") % partitions"]],
    tests: examples,
  },
  {
    name: "examples-go-tail-of-key",
    breaks: "Go hashes the last bytes of a key.",
    file: "examples/go/batches/batches.go",
    replace: [["for i := len(data) - 1; i >= 0; i--", "for i := len(data) - 1; i > 0; i--"]],
    tests: examples,
  },
  {
    name: "examples-python-before-start",
    breaks: "Python skips what is before the offset that it asked for.",
    file: "examples/python/consumer.py",
    replace: [["if offset < starts[reply.cursor_id]:", "if offset < 0:"]],
    tests: examples,
  },
  {
    name: "examples-go-before-start",
    breaks: "Go skips what is before the offset that it asked for.",
    file: "examples/go/consumer/main.go",
    replace: [["if offset < start {", "if offset+1 < start {"]],
    tests: examples,
  },
  {
    name: "examples-python-sequences",
    breaks: "Sequences count on from batch to batch.",
    file: "examples/python/throughput.py",
    replace: [["            base_sequence=first,", "            base_sequence=0,"]],
    tests: examples,
  },
  {
    name: "examples-typescript-key-in-value",
    breaks: "A producer's line is a key, a tab and a value.",
    file: "examples/typescript/producer.ts",
    replace: [["line.slice(tab + 1)", "line.slice(tab)"]],
    tests: examples,
  },
  {
    name: "examples-python-one-thread-fails",
    breaks: "A batch that Python cannot read ends the program, with an exit code.",
    file: "examples/python/consumer.py",
    replace: [["    except ValueError as error:", "    except KeyError as error:"]],
    tests: examples,
  },
  {
    name: "guide-go-without-version",
    breaks: "The guide's module says which Go it is for.",
    file: "docs/guides/any-language.md",
    replace: [["proto\\n\\ngo 1.26.0\\n'", "proto\\n'"]],
    tests: examples,
  },
  {
    name: "guide-python-without-services",
    breaks: "The guide's stubs have services.",
    file: "docs/guides/any-language.md",
    replace: [["  --grpc_python_out=examples/python/stubs ", "  "]],
    tests: stubs,
  },
  {
    name: "guide-java-without-services",
    breaks: "The guide's stubs for Java have services.",
    file: "docs/guides/any-language.md",
    replace: [["--grpc-java_out=stubs ", ""]],
    tests: stubs,
  },
  {
    name: "languages-any-program",
    breaks: "A program that is not the one that was pinned is not used.",
    file: "tools/languages/fetch.ts",
    replace: [["if (hash !== wanted) throw", "if (hash.length !== 64) throw"]],
    tests: ["test/languages/fetch.test.ts"],
  },
  {
    name: "languages-half-a-kit",
    breaks: "A kit whose build failed is not there.",
    file: "tools/languages/fetch.ts",
    replace: [["    rmSync(staging, { recursive: true, force: true });\n", ""]],
    tests: ["test/languages/fetch.test.ts"],
  },
  {
    name: "languages-one-missing-fails-all",
    breaks: "A machine without one tool tests the other languages.",
    file: "tools/languages/fetch.ts",
    replace: [
      ["      const why = thrown", "      if (thrown) throw thrown;\n      const why = thrown"],
    ],
    tests: ["test/languages/fetch.test.ts"],
  },
  {
    name: "guide-vector",
    breaks: "The guide's hashes are right.",
    file: "docs/guides/any-language.md",
    replace: [['| `"hello"` | 2132663229 |', '| `"hello"` | 2132663228 |']],
    tests: examples,
  },
];

const containerMutants: readonly Mutant[] = [
  {
    name: "image-without-a-package",
    breaks: "The image has every package that a server imports.",
    file: "Dockerfile",
    replace: [["COPY packages/observability/ packages/observability/\n", ""]],
    tests: container,
  },
  {
    name: "image-as-root",
    breaks: "The server does not run as root.",
    file: "Dockerfile",
    replace: [["USER node", "USER root"]],
    tests: container,
  },
  {
    name: "image-with-two-nodes",
    breaks: "Node is in the image once.",
    file: "Dockerfile",
    replace: [['"--include-workspace-root=false"', '"--include-workspace-root=true"']],
    tests: container,
  },
  {
    name: "image-healthy-when-dead",
    breaks: "A server that does not answer is not healthy.",
    file: "Dockerfile",
    replace: [["() => process.exit(1))", "() => process.exit(0))"]],
    tests: container,
  },
  {
    name: "image-ignores-a-source",
    breaks: "What the Dockerfile copies reaches the builder.",
    file: ".dockerignore",
    replace: [["!services\n", ""]],
    tests: container,
  },
  {
    name: "compose-unknown-flag",
    breaks: "Compose files name settings that servers know.",
    file: "compose.cluster.yaml",
    replace: [["      - --rack=b\n", "      - --zone=b\n"]],
    tests: container,
  },
  {
    name: "compose-one-address-for-two",
    breaks: "Clients are told the port that is published.",
    file: "compose.cluster.yaml",
    replace: [["-localhost}:7432", "-localhost}:7431"]],
    tests: container,
  },
  {
    name: "compose-anybody-reaches-it",
    breaks: "Ports without TLS are published on loopback.",
    file: "compose.yaml",
    replace: [['"127.0.0.1:7400:7400"', '"0.0.0.0:7400:7400"']],
    tests: container,
  },
];

export const outsideMutants: readonly Mutant[] = [...languageMutants, ...containerMutants];
