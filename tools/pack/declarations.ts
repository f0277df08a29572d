/**
 * The types of a package in one file. The compiler writes declarations of every source file first,
 * so that the bundler depends on no version of the compiler.
 */
import { spawnSync } from "node:child_process";
import { cpSync, globSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Plugin, rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";
import { isOurs, root, scratchDirectory, sourceOf } from "./workspace.ts";

/** Declarations of the given packages, under `into`, at the paths of their sources. */
const emit = (packages: readonly string[], into: string): void => {
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into, { recursive: true });
  const config = join(into, "tsconfig.json");
  const options = {
    extends: join(root, "tsconfig.base.json"),
    compilerOptions: {
      ...{ noEmit: false, declaration: true, emitDeclarationOnly: true, stripInternal: true },
      ...{ rootDir: root, outDir: into, typeRoots: [join(root, "node_modules/@types")] },
    },
    include: packages.map((name) => join(root, "packages", name, "src/**/*.ts")),
    exclude: packages.flatMap((name) =>
      ["**/*.test.ts", "testing/**"].map((files) => join(root, "packages", name, "src", files)),
    ),
  };
  writeFileSync(config, JSON.stringify(options));
  const compiler = join(root, "node_modules/.bin/tsc");
  const done = spawnSync(compiler, ["-p", config], { cwd: root, encoding: "utf8" });
  if (done.status !== 0) throw new Error(`tsc: ${done.stdout}${done.stderr}`);
  for (const path of globSync("packages/*/gen/**/*.d.ts", { cwd: root })) {
    cpSync(join(root, path), join(into, path));
  }
};

/** Finds our packages among the declarations, and a few of our own in place of protobuf-es's. */
const declarationsIn = (directory: string): Plugin => ({
  name: "declarations",
  resolveId: {
    order: "pre",
    handler: (id) => {
      if (isOurs(id)) return join(directory, sourceOf(id).replace(/\.ts$/, ".d.ts"));
      if (id === "@bufbuild/protobuf") return join(root, "tools/pack/protobuf.d.ts");
      if (/^[./]/.test(id)) return undefined;
      // Files import more than their exports need.
      return { id, external: true };
    },
  },
});

/** For `Symbol.asyncDispose`, which is not in every library of the compiler. */
const banner = '/// <reference lib="esnext.disposable" />';

/** Writes the types of `entry` to `directory/file`. They need no other package. */
export const bundleDeclarations = async (
  entry: string,
  packages: readonly string[],
  directory: string,
  file: string,
): Promise<void> => {
  const types = join(scratchDirectory, "types");
  emit(packages, types);
  const bundle = await rolldown({
    input: { "index.d": join(types, entry.replace(/\.ts$/, ".d.ts")) },
    treeshake: { moduleSideEffects: "no-external" },
    // Declarations are there already: nothing is left for a generator to do.
    plugins: [
      declarationsIn(types),
      dts({ dtsInput: true, emitDtsOnly: true, tsconfig: false, generator: "oxc" }),
    ],
  });
  const { output } = await bundle.write({
    dir: directory,
    format: "es",
    entryFileNames: file,
    postBanner: banner,
  });
  rmSync(types, { recursive: true });
  const [chunk, ...others] = output;
  if (others.length > 0) throw new Error("the types are not one file");
  const needed = /^import .*|\bfrom ".*/m.exec(chunk.code);
  if (needed !== null) throw new Error(`the types need another package: ${needed[0]}`);
};
