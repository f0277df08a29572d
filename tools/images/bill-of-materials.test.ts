import assert from "node:assert/strict";
import { test } from "node:test";
import { billOfMaterials } from "./bill-of-materials.ts";

test("a bill of materials names every package once, with version, license and hash", () => {
  const base = {
    packages: [{ name: "libc6", version: "2.36-9+deb12u10", architecture: "amd64" }],
    others: ["/opt/odd.so"],
  };
  const packages = {
    "node_modules/@a/b": { version: "1.2.3", license: "MIT", integrity: "sha512-AAEC" },
    "node_modules/c/node_modules/d": { version: "2.0.0" },
    "node_modules/@millrace/log": { link: true },
    "packages/log": { name: "@millrace/log", version: "0.1.0" },
  };
  const { components } = billOfMaterials(base, { packages }, "26.0.0");
  const [node, ...rest] = components;
  assert.equal(node?.name, "node");
  assert.match(node?.purl ?? "", /^pkg:npm\/node-linux-\w+@26\.0\.0$/);
  assert.deepEqual(rest, [
    {
      type: "library",
      name: "libc6",
      version: "2.36-9+deb12u10",
      purl: "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
    },
    { type: "file", name: "/opt/odd.so" },
    {
      type: "library",
      name: "@a/b",
      version: "1.2.3",
      purl: "pkg:npm/%40a/b@1.2.3",
      licenses: [{ expression: "MIT" }],
      hashes: [{ alg: "SHA-512", content: "000102" }],
    },
    { type: "library", name: "d", version: "2.0.0", purl: "pkg:npm/d@2.0.0" },
    {
      type: "library",
      name: "@millrace/log",
      version: "0.1.0",
      purl: "pkg:npm/%40millrace/log@0.1.0",
    },
  ]);
});
