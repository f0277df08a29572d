/** Where generated code of other languages lands: named in every .proto, by one rule. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { protos, read } from "./repository.ts";

const capital = (word: string): string => `${word[0]?.toUpperCase()}${word.slice(1)}`;

/** The options that follow from a package, as they stand in a file. */
const optionsOf = (name: string): Readonly<Record<string, string>> => {
  const parts = name.split(".");
  const capitals = parts.map(capital);
  return {
    csharp_namespace: `"${capitals.join(".")}"`,
    go_package: `"millrace.dev/proto/${parts.join("/")};${parts.slice(-2).join("")}"`,
    // One file for each message: a file's own class could have the name of a message in it.
    java_multiple_files: "true",
    java_package: `"dev.${name}"`,
    // Swift has the package in its names by itself. Objective-C has one namespace for everything.
    objc_class_prefix: `"${capitals.join("")}"`,
    php_namespace: `"${capitals.join("\\\\")}"`,
    ruby_package: `"${capitals.join("::")}"`,
  };
};

test("every .proto says where its code goes in each language, by its package", () => {
  assert.ok(protos.length >= 13, `${protos.length} files`);
  for (const path of protos) {
    const text = read(path);
    const name = /^package ([a-z.0-9]+);$/m.exec(text)?.[1] ?? "";
    const lines = [...text.matchAll(/^option (\w+) = (.*);$/gm)];
    const found = Object.fromEntries(lines.map(([, option = "", value]) => [option, value]));
    assert.deepEqual(found, optionsOf(name), path);
    assert.equal(`proto/${name.replaceAll(".", "/")}/`, path.slice(0, path.lastIndexOf("/") + 1));
  }
});

test("no two packages have one name in any language", () => {
  const packages = new Set(protos.map((path) => path.split("/").slice(1, -1).join(".")));
  for (const option of Object.keys(optionsOf("a.b.v1"))) {
    if (option === "java_multiple_files") continue;
    const values = new Set([...packages].map((name) => optionsOf(name)[option]));
    assert.equal(values.size, packages.size, option);
  }
});
