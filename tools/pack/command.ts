/** Builds `millrace`, the command line, with the server. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type OutputChunk, type Plugin, rolldown } from "rolldown";
import { buildOfClone } from "../../packages/server/src/node/build.ts";
import { noticesOf } from "./notices.ts";
import {
  beginPackage,
  commonManifest,
  isLibrary,
  oldestNode,
  packageOf,
  root,
  versionsOf,
  writeManifest,
} from "./workspace.ts";

/**
 * What is installed beside the command: native parts, and what only the server loads. All other
 * libraries are built in: a start reads a few files instead of hundreds.
 */
const installed = ["@node-rs/crc32", "lz4-napi", "pino", "pino-pretty", "prom-client", "yaml"];
/** grpc-js loads it for channelz and ORCA, which nothing of ours turns on. */
const neverLoaded = "@grpc/proto-loader";

/** What the server prints for a clone, where it is not on the PATH, holds here without the path. */
const withoutPath: Plugin = {
  name: "without-path",
  transform: {
    filter: { code: "./millrace " },
    handler: (code) => code.replaceAll("./millrace ", "millrace "),
  },
};

const bundleCode = async (directory: string): Promise<OutputChunk[]> => {
  const bundle = await rolldown({
    input: {
      millrace: join(root, "packages/cli/src/main.ts"),
      // A thread of the server begins here; the part that begins it is in the same folder.
      "parts/cleaning-worker": join(root, "packages/log/src/node/cleaning-worker.ts"),
    },
    platform: "node",
    plugins: [withoutPath],
    external: (id) => isLibrary(id) && [...installed, neverLoaded].includes(packageOf(id)),
    transform: {
      target: `node${oldestNode}`,
      define: { MILLRACE_BUILD: JSON.stringify(await buildOfClone()) },
    },
  });
  const { output } = await bundle.write({
    dir: directory,
    format: "es",
    entryFileNames: "[name].js",
    chunkFileNames: "parts/[name]-[hash].js",
  });
  return output.filter((one) => one.type === "chunk");
};

/** Builds the package, and returns its directory. */
export const buildCommand = async (): Promise<string> => {
  const directory = beginPackage("millrace", "packages/cli/README.md");
  const chunks = await bundleCode(directory);
  const modules = chunks.flatMap((chunk) => chunk.moduleIds);
  writeFileSync(join(directory, "NOTICES"), noticesOf(modules));
  writeManifest(directory, {
    name: "millrace",
    ...commonManifest,
    description: "The command line of Millrace, an event-streaming platform, and its server",
    keywords: ["millrace", "event-streaming", "messaging", "grpc", "cli"],
    type: "module",
    bin: { millrace: "millrace.js" },
    dependencies: versionsOf(installed),
  });
  return directory;
};
