import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { run } from "../programs.ts";
import { type Blob, imageDocuments, Layout } from "./oci.ts";

const directory = mkdtempSync(join(tmpdir(), "millrace-oci-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const config = {
  entrypoint: ["/bin/one"],
  command: ["--flag"],
  user: "10001:10001",
  ports: ["7400/tcp"],
  volumes: ["/data"],
  stopSignal: "SIGTERM",
};
const sha256 = (content: Buffer | string): string =>
  `sha256:${createHash("sha256").update(content).digest("hex")}`;

test("documents of an image name one another by their digests", () => {
  const blob = { mediaType: "layer", digest: "sha256:aa", size: 7 };
  const made = imageDocuments(config, [{ ...blob, diffId: "sha256:bb" }]);
  for (const { blob: one, content } of Object.values(made)) {
    assert.deepEqual([one.digest, one.size], [sha256(content), Buffer.byteLength(content)]);
  }
  const said = JSON.parse(made.config.content);
  assert.deepEqual(said.rootfs.diff_ids, ["sha256:bb"]);
  assert.deepEqual(said.config, {
    User: "10001:10001",
    WorkingDir: "/",
    Entrypoint: ["/bin/one"],
    Cmd: ["--flag"],
    Env: ["PATH=/usr/local/bin:/usr/bin:/bin"],
    ExposedPorts: { "7400/tcp": {} },
    Volumes: { "/data": {} },
    StopSignal: "SIGTERM",
  });
  const manifest = JSON.parse(made.manifest.content);
  assert.deepEqual(manifest.config, made.config.blob);
  assert.deepEqual(manifest.layers, [blob]);
});

const hasGnuTar = spawnSync("tar", ["--version"], { encoding: "utf8" }).stdout?.includes("GNU");
const skip = hasGnuTar === true ? false : "images are packed by GNU tar: install it";

/** Files of one content, made at another time and under another umask each time. */
const makeFiles = (name: string, mode: number): string => {
  const root = join(directory, name);
  for (const path of ["bin", "data", "tmp"]) mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, "bin", "one"), "#!", { mode: mode | 0o100 });
  writeFileSync(join(root, "bin", "two"), "two", { mode });
  return root;
};

const makeImage = async (name: string, mode: number): Promise<string> => {
  const root = makeFiles(`${name}-files`, mode);
  const layout = new Layout(join(directory, name));
  const layer = await layout.addLayer([
    { directory: root, paths: ["bin"] },
    { directory: root, paths: ["data"], owner: "10001:10002", mode: "0750" },
    { directory: root, paths: ["tmp"], mode: "1777" },
  ]);
  layout.addImage("localhost/one:dev", config, [layer]);
  await layout.pack(join(directory, `${name}.tar`));
  return layout.directory;
};

const read = (layout: string, { digest }: Blob): Buffer =>
  readFileSync(join(layout, "blobs", "sha256", digest.slice(7)));

test("a layout holds what its index names, and owners and modes as they were told", {
  skip,
}, async () => {
  const layout = await makeImage("a", 0o600);
  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
  const [entry] = index.manifests;
  assert.equal(entry.annotations["io.containerd.image.name"], "localhost/one:dev");
  assert.equal(entry.annotations["org.opencontainers.image.ref.name"], "dev");
  const manifest = JSON.parse(read(layout, entry).toString());
  const packed = read(layout, manifest.layers[0]);
  assert.equal(sha256(packed), manifest.layers[0].digest);
  const tar = gunzipSync(packed);
  const said = JSON.parse(read(layout, manifest.config).toString());
  assert.deepEqual(said.rootfs.diff_ids, [sha256(tar)]);
  const file = join(directory, "layer.tar");
  writeFileSync(file, tar);
  const lines = (await run("tar", ["--numeric-owner", "-tvf", file])).trim().split("\n");
  assert.deepEqual(
    lines.map((line) => line.replace(/ +\d+ 1970-01-01 \d\d:\d\d /, " ")),
    [
      "drwxr-xr-x 0/0 bin/",
      "-rwxr-xr-x 0/0 bin/one",
      "-rw-r--r-- 0/0 bin/two",
      "drwxr-x--- 10001/10002 data/",
      "drwxrwxrwt 0/0 tmp/",
    ],
  );
});

test("the same files make the same image, whatever their times and modes are", {
  skip,
}, async () => {
  await makeImage("b", 0o640);
  const [a, b] = ["a", "b"].map((name) => readFileSync(join(directory, `${name}.tar`)));
  assert.ok(a !== undefined && b !== undefined && a.equals(b));
});
