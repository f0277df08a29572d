/** Tools that a machine does not have, or cannot get, are told by name; nothing fails. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { withDirectory } from "../integration/server.ts";
import { root } from "./copy.ts";

/** What `npm run languages:fetch` prints where only the given tools are installed. */
const fetchWith = (directory: string, tools: Readonly<Record<string, string>>): string => {
  const bin = join(directory, "bin");
  mkdirSync(bin, { recursive: true });
  for (const [name, text] of Object.entries(tools)) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  const done = spawnSync(process.execPath, ["tools/languages/fetch.ts"], {
    cwd: root,
    env: { PATH: bin, XDG_CACHE_HOME: join(directory, "cache") },
    encoding: "utf8",
  });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout;
};

test("a machine without any of the tools", async () => {
  await withDirectory(async (directory) => {
    const names = fetchWith(directory, {}).match(/^\w+(?=: cannot be had: )/gm);
    assert.deepEqual(names, ["python", "go", "protoc", "java", "grpcurl"]);
  });
});

test("a build that fails leaves nothing that passes for a kit", async () => {
  await withDirectory(async (directory) => {
    const kits = join(directory, "cache/millrace");
    assert.match(
      fetchWith(directory, { go: '[ "$1" = version ]' }),
      /^go: cannot be had: go build: exit 1/m,
    );
    assert.deepEqual(existsSync(kits) ? readdirSync(kits) : [], []);
    assert.match(fetchWith(directory, { go: "exit 0" }), /^go: \/.*\/languages-go-[0-9a-f]{16}$/m);
    assert.equal(readdirSync(kits).length, 2);
  });
});

test("a program that is not the one that was pinned is no kit", async () => {
  await withDirectory(async (directory) => {
    const mvn = `
      for option; do
        case $option in -DoutputDirectory=*) directory=\${option#*=};; esac
      done
      /bin/mkdir -p "$directory" && echo another > "$directory/program"`;
    assert.match(
      fetchWith(directory, { javac: "exit 0", mvn }),
      /^java: cannot be had: \/.*\/protoc-gen-grpc-java has the SHA-256 [0-9a-f]{64}, and not /m,
    );
    assert.deepEqual(readdirSync(join(directory, "cache/millrace")), []);
  });
});
