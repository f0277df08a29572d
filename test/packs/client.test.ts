/** The client's pack in a bare project: its content, its types, and its code on every runtime. */
import assert from "node:assert/strict";
import { copyFileSync, globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { compilers, nodes, others, tooOldNode } from "../../tools/pack/runtimes.ts";
import { root } from "../../tools/pack/workspace.ts";
import { ServerProcess, withDirectory } from "../integration/server.ts";
import { clientPack, installIn, mustRun, run } from "./outside.ts";

const unpackedBytesMax = 1024 * 1024;

const runtimes = [...(await nodes()), ...(await others())];
const typeCheckers = await compilers();

const program = fileURLToPath(new URL("programs/roundtrip.ts", import.meta.url));

/**
 * The README's examples, each a module as it stands but for the address and the topic, and a
 * program that runs them in turn: `readme HOST:PORT TOPIC`.
 */
const readmeModules = (readme: string): Record<string, string> => {
  const examples = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? "");
  assert.ok(examples.length >= 8, `${examples.length} examples`);
  const modules = examples.map((example, i) => {
    const text = example
      .replaceAll('"localhost:7400"', 'process.argv[2] ?? ""')
      .replaceAll('"events"', 'process.argv[3] ?? ""');
    return [`example-${i}.mts`, text] as const;
  });
  const imports = modules.map(([name]) => `await import("./${name.replace(".mts", ".mjs")}");`);
  return Object.fromEntries([...modules, ["readme.mts", [...imports, "export {};"].join("\n")]]);
};

/** What all configurations have in common: strict, and declarations are checked, too. */
const strict = { strict: true, skipLibCheck: false, target: "es2022", types: ["node"] };
const configurations = {
  nodenext: {
    compilerOptions: { ...strict, module: "nodenext", outDir: "out" },
    include: ["*.mts", "*.cts"],
  },
  commonjs: {
    compilerOptions: { ...strict, module: "commonjs", outDir: "out-commonjs" },
    files: ["roundtrip.ts"],
  },
};

const setUp = (directory: string): void => {
  installIn(directory, clientPack);
  for (const type of ["ts", "mts", "cts"]) {
    copyFileSync(program, join(directory, `roundtrip.${type}`));
  }
  mkdirSync(join(directory, "out-commonjs"));
  // For Deno, which does not take `.js` for CommonJS by itself.
  writeFileSync(join(directory, "out-commonjs/package.json"), '{"type": "commonjs"}\n');
  const readme = readFileSync(join(directory, "node_modules/@millrace/client/README.md"), "utf8");
  for (const [name, text] of Object.entries(readmeModules(readme))) {
    writeFileSync(join(directory, name), text);
  }
  for (const [name, configuration] of Object.entries(configurations)) {
    writeFileSync(join(directory, `tsconfig.${name}.json`), JSON.stringify(configuration));
  }
};

const checkContent = (directory: string): void => {
  const installed = join(directory, "node_modules/@millrace/client");
  const files = globSync("**/*", { cwd: installed }).sort();
  const { dependencies, engines } = JSON.parse(
    readFileSync(join(installed, "package.json"), "utf8"),
  );
  const code = ["index.cjs", "index.d.cts", "index.d.mts", "index.mjs"];
  assert.deepEqual(files, ["LICENSE", "README.md", ...code, "package.json"]);
  assert.equal(engines.node, ">=22");
  assert.ok(!Object.keys(dependencies).some((name) => name.startsWith("@millrace/")));
  const bytes = files.reduce((sum, file) => sum + statSync(join(installed, file)).size, 0);
  assert.ok(bytes <= unpackedBytesMax, `${bytes} bytes`);
  for (const file of code) {
    const text = readFileSync(join(installed, file), "utf8");
    assert.ok(!text.includes(root) && !text.includes("sourceMappingURL"), file);
    assert.doesNotMatch(text, /(?:from|import|require\() ?"@millrace\//, file);
  }
};

const checkTypes = async (context: TestContext, directory: string): Promise<void> => {
  for (const { name, command } of typeCheckers) {
    for (const configuration of Object.keys(configurations)) {
      const title = `${name}, ${configuration}`;
      await context.test(title, { skip: command === undefined && "cannot be had" }, () => {
        const config = join(directory, `tsconfig.${configuration}.json`);
        mustRun([...(command ?? []), "-p", config], { cwd: directory });
      });
    }
  }
};

const programs = ["out/roundtrip.mjs", "out/roundtrip.cjs", "out-commonjs/roundtrip.js"];

const checkRuntimes = async (
  context: TestContext,
  directory: string,
  endpoint: string,
): Promise<void> => {
  for (const [i, { name, command }] of runtimes.entries()) {
    await context.test(name, { skip: command === undefined && "cannot be had" }, () => {
      const start = command ?? [];
      for (const [j, file] of programs.entries()) {
        const out = mustRun([...start, file, endpoint, `topic-${i}-${j}`], { cwd: directory });
        // Node has zstd since 22.15.
        const codecs = name === "Node 22.0.0" ? "none, gzip, lz4" : "none, gzip, lz4, zstd";
        assert.equal(out, `read back: ${codecs}\n`);
      }
      if (name === "Node 22.0.0") return;
      const readme = [...start, "out/readme.mjs", endpoint, `readme-${i}`];
      const lines = mustRun(readme, { cwd: directory }).split("\n");
      assert.ok(lines.length > 6, `${lines.length} lines`);
    });
  }
};

/** What a Node prints that the package is too new for. */
const checkRefusal = async (context: TestContext, directory: string): Promise<void> => {
  const { name, command } = await tooOldNode();
  await context.test(
    `${name} is refused`,
    { skip: command === undefined && "cannot be had" },
    () => {
      const lines: Readonly<Record<string, string>> = {
        "old.mjs": 'import { connect } from "@millrace/client"; console.log(connect);',
        "old.cjs": 'const { connect } = require("@millrace/client"); console.log(connect);',
      };
      for (const [file, text] of Object.entries(lines)) {
        writeFileSync(join(directory, file), text);
        const { code, out, err } = run([...(command ?? []), file], { cwd: directory });
        assert.deepEqual([code, out], [1, ""]);
        assert.match(
          err,
          /^.Error: @millrace\/client needs Node 22 or newer, and this is Node 20\.20\.2.$/m,
        );
        assert.doesNotMatch(err, /^ +at /m, "a stack hides the line");
      }
    },
  );
};

/** One class of errors, however the package is loaded. */
const sameClass = `
  const { createRequire } = await import("node:module");
  const required = createRequire(process.cwd() + "/x.js")("@millrace/client");
  const imported = await import("@millrace/client");
  console.log(required.MillraceError === imported.MillraceError, Object.keys(imported).length);
`;

test("the client's pack in a bare project", { timeout: 280_000 }, async (context) => {
  await withDirectory(async (directory) => {
    setUp(directory);
    await context.test("holds what it should, and no more", () => checkContent(directory));
    await checkTypes(context, directory);
    await context.test("is loaded once by import and require", () => {
      const start = [process.execPath, "--input-type=module", "--eval", sameClass];
      assert.match(mustRun(start, { cwd: directory }), /^true \d\d\n$/);
    });
    await checkRefusal(context, directory);
    const server = new ServerProcess(join(directory, "data"));
    try {
      await checkRuntimes(context, directory, (await server.ready()).client);
    } finally {
      await server.kill("SIGTERM");
    }
  });
});
