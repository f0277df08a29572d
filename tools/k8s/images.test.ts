import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Blob, imageDocuments, packImage } from "./images.ts";

const directory = mkdtempSync(join(tmpdir(), "millrace-images-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const options = {
  name: "localhost/one:dev",
  root: join(directory, "root"),
  entrypoint: ["/bin/one"],
  user: "10001:10001",
};

test("documents of an image name one another by their digests", () => {
  const layer = { mediaType: "layer", digest: "sha256:aa", size: 7 };
  const { blobs, index } = imageDocuments(options, layer);
  const [config, manifest] = blobs;
  assert.ok(config !== undefined && manifest !== undefined);
  for (const { blob, content } of blobs) {
    const hex = createHash("sha256").update(content).digest("hex");
    assert.deepEqual([blob.digest, blob.size], [`sha256:${hex}`, Buffer.byteLength(content)]);
  }
  assert.deepEqual(JSON.parse(config.content).rootfs.diff_ids, ["sha256:aa"]);
  assert.deepEqual(JSON.parse(manifest.content).config, config.blob);
  assert.deepEqual(JSON.parse(manifest.content).layers, [layer]);
  const [entry]: (Blob & { annotations: Record<string, string> })[] = JSON.parse(index).manifests;
  assert.equal(entry?.digest, manifest.blob.digest);
  assert.equal(entry?.annotations["io.containerd.image.name"], "localhost/one:dev");
  assert.equal(entry?.annotations["org.opencontainers.image.ref.name"], "dev");
});

const hasGnuTar = spawnSync("tar", ["--version"], { encoding: "utf8" }).stdout?.includes("GNU");
const skip = hasGnuTar === true ? false : "images are packed by GNU tar: install it";

test("the same files make the same image", { skip }, async () => {
  mkdirSync(join(options.root, "bin"), { recursive: true });
  writeFileSync(join(options.root, "bin", "one"), "#!/bin/sh\n", { mode: 0o755 });
  const files = ["a.tar", "b.tar"].map((name) => join(directory, name));
  const digests: string[] = [];
  for (const file of files) digests.push(await packImage(options, file));
  assert.match(digests[0] ?? "", /^sha256:[0-9a-f]{64}$/);
  assert.equal(digests[0], digests[1]);
  const [a, b] = files.map((file) => readFileSync(file));
  assert.ok(a !== undefined && b !== undefined && a.equals(b));
});
