import assert from "node:assert/strict";
import { test } from "node:test";
import { librariesIn } from "./base.ts";

test("libraries are those that the loader found, and its own", () => {
  const output = [
    "\tlinux-vdso.so.1 (0x00007fb592c97000)",
    "\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007fb592b97000)",
    "\t/lib64/ld-linux-x86-64.so.2 (0x00007fb592c99000)",
    "\tlibodd.so => not a path",
  ].join("\n");
  const found = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"];
  assert.deepEqual(librariesIn(output), found);
  assert.deepEqual(librariesIn("\tstatically linked\n"), []);
});

test("a library that is missing is told by its name", () => {
  assert.throws(() => librariesIn("\tlibatomic.so.1 => not found\n"), /libatomic\.so\.1/);
});
