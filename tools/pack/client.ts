/** Builds `@millrace/client` for people outside: our packages in one file, libraries beside it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { bundleDeclarations } from "./declarations.ts";
import {
  beginPackage,
  commonManifest,
  isLibrary,
  oldestNode,
  packageOf,
  readManifest,
  root,
  versionsOf,
  writeManifest,
} from "./workspace.ts";

const entry = "packages/client/src/index.ts";
/** The client, and what it is made of. */
const parts = ["client", "env", "errors", "proto", "record", "rpc"];

/** Runs before anything that an older Node lacks. Without a stack, Node prints little more. */
const refusal = `const nodeVersion = process.versions.node;
if (Number.parseInt(nodeVersion, 10) < ${oldestNode}) {
	const error = new Error(
		\`@millrace/client needs Node ${oldestNode} or newer, and this is Node \${nodeVersion}\`,
	);
	error.stack = \`Error: \${error.message}\`;
	throw error;
}`;

/**
 * The code is CommonJS, once; `index.mjs` is a door to it for `import`. With a copy for each, an
 * error that one throws would be no `MillraceError` of the other.
 */
const bundleCode = async (directory: string): Promise<string[]> => {
  const bundle = await rolldown({
    input: join(root, entry),
    platform: "node",
    external: isLibrary,
    transform: { target: `node${oldestNode}` },
  });
  const { output } = await bundle.write({
    dir: directory,
    format: "cjs",
    entryFileNames: "index.cjs",
    banner: refusal,
  });
  const [chunk, ...others] = output;
  if (others.length > 0) throw new Error("the code is not one file");
  const names = chunk.exports.toSorted().join(",\n  ");
  writeFileSync(join(directory, "index.mjs"), `export {\n  ${names},\n} from "./index.cjs";\n`);
  writeFileSync(join(directory, "index.d.mts"), 'export * from "./index.cjs";\n');
  return chunk.imports.filter(isLibrary);
};

const manifest = (libraries: Iterable<string>): object => {
  const { name } = readManifest("packages/client");
  const types = { import: "./index.d.mts", require: "./index.d.cts" };
  return {
    name,
    ...commonManifest,
    description: "Producer, consumer and administration of Millrace, an event-streaming platform",
    keywords: ["millrace", "event-streaming", "messaging", "grpc", "producer", "consumer"],
    type: "commonjs",
    main: "./index.cjs",
    module: "./index.mjs",
    // For compilers that do not read `exports`.
    types: types.require,
    exports: {
      ".": {
        import: { types: types.import, default: "./index.mjs" },
        require: { types: types.require, default: "./index.cjs" },
      },
      "./package.json": "./package.json",
    },
    sideEffects: false,
    dependencies: {
      ...versionsOf(libraries),
      // For TypeScript 5.4. Libraries of ours take whatever is newest, which it cannot read.
      "@types/node": `^${oldestNode}`,
    },
  };
};

/** Builds the package, and returns its directory. */
export const buildClient = async (): Promise<string> => {
  const directory = beginPackage("client", "packages/client/README.md");
  const libraries = (await bundleCode(directory)).map(packageOf);
  await bundleDeclarations(entry, parts, directory, "index.d.cts");
  writeManifest(directory, manifest(libraries));
  return directory;
};
