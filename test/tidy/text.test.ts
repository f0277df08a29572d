/** Rules for what is written for people: widths, words, and references that lead somewhere. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { roomsPage, roomsPath } from "../../tools/rooms.ts";
import { documents, linesOf, none, protos, read, root, sources } from "./repository.ts";

const codeColumnsMax = 110;
const proseColumnsMax = 100;

/** Mutants quote the sources, line breaks and all. */
const quotes = (path: string): boolean => path.startsWith("test/mutants/lists/");

/** A line without its strings: a sentence in quotes may be as long as it is. */
const withoutStrings = (line: string): string => line.replace(/"[^"]*"|`[^`]*`?/g, '""');

const isComment = (line: string): boolean => /^ *(\/\/|\/?\*)/.test(line);
/** Grammars and diagrams in comments keep their own shape. */
const isFigure = (line: string): boolean => /^ *(\/\/|\/?\*) {3,}|https?:/.test(line);

test("code has at most 110 columns, comments 100", () => {
  const problems: string[] = [];
  for (const path of [...sources, ...protos].filter((one) => !quotes(one))) {
    for (const [i, line] of linesOf(path).entries()) {
      const tooLong = isComment(line)
        ? line.length > proseColumnsMax && !isFigure(line)
        : path.endsWith(".ts") && withoutStrings(line).length > codeColumnsMax;
      if (tooLong) problems.push(`${path}:${i + 1}: ${line.length} columns`);
    }
  }
  none(problems);
});

/** Lines of a document outside tables, code, headings, HTML and addresses. */
const proseOf = (path: string): [number, string][] => {
  let code = false;
  return linesOf(path).flatMap((line, i): [number, string][] => {
    if (line.trimStart().startsWith("```")) code = !code;
    const other = code || /^ *(\||#|<|```)|^ {4,}\S|https?:/.test(line);
    return other ? [] : [[i + 1, line]];
  });
};

const isGenerated = (path: string): boolean =>
  /^docs\/(reference\/|benchmarks\/|benchmarks-cluster)/.test(path);

test("prose in documents has at most 100 columns", () => {
  const problems: string[] = [];
  for (const path of documents.filter((one) => !isGenerated(one))) {
    for (const [at, line] of proseOf(path)) {
      if (line.length > proseColumnsMax) problems.push(`${path}:${at}: ${line.length} columns`);
    }
  }
  none(problems);
});

test("words: cannot, not can not", () => {
  const problems: string[] = [];
  for (const path of [...sources, ...protos, ...documents]) {
    if (path === "test/tidy/text.test.ts") continue;
    for (const [i, line] of linesOf(path).entries()) {
      if (/\bcan not\b/i.test(line)) problems.push(`${path}:${i + 1}: ${line.trim()}`);
    }
  }
  none(problems);
});

/** Anchors as GitHub makes them. */
const anchorsOf = (path: string): Set<string> =>
  new Set(
    linesOf(path)
      .filter((line) => line.startsWith("#"))
      .map((line) =>
        line
          .replace(/^#+ /, "")
          .toLowerCase()
          .replace(/[^\p{L}\p{N} _-]/gu, "")
          .replaceAll(" ", "-"),
      ),
  );

test("links in documents lead to files and headings that are there", () => {
  const problems: string[] = [];
  for (const path of documents) {
    const prose = read(path).replace(/`[^`\n]*`/g, "");
    for (const [, target = ""] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = "", anchor] = target.split("#");
      const to = file === "" ? path : normalize(join(dirname(path), file));
      if (!existsSync(join(root, to))) problems.push(`${path}: ${target}`);
      else if (anchor !== undefined && to.endsWith(".md") && !anchorsOf(to).has(anchor)) {
        problems.push(`${path}: ${target}: no such heading`);
      }
    }
  }
  none(problems);
});

const places = "(?:packages|services|operator|docs|tools|bench|test|proto|deploy)";
/** A path of this repository in words: `packages/log`, or docs/guides/limits.md in a comment. */
const pathInWords = new RegExp(`\`(${places}/[\\w./-]+)\`|(?<![\\w./-])(docs/[\\w/-]+\\.md)`, "g");

test("paths that documents and comments name are there", () => {
  const problems: string[] = [];
  for (const path of [...documents, ...protos, ...sources].filter((one) => !quotes(one))) {
    for (const [i, line] of linesOf(path).entries()) {
      if (!documents.includes(path) && !isComment(line)) continue;
      for (const [, quoted, plain] of line.matchAll(pathInWords)) {
        const named = quoted ?? plain ?? "";
        if (path === "CHANGELOG.md" || existsSync(join(root, named))) continue;
        problems.push(`${path}:${i + 1}: ${named}`);
      }
    }
  }
  none(problems);
});

test("documents refer to no other by a number alone", () => {
  const problems: string[] = [];
  for (const path of [...documents, ...protos, ...sources]) {
    if (path === "test/tidy/text.test.ts") continue;
    for (const [i, line] of linesOf(path).entries()) {
      if (!documents.includes(path) && !isComment(line)) continue;
      if (/\b(semantics|invariants?|traps?|architecture|replication) \d+(\.\d+)*\b/i.test(line)) {
        problems.push(`${path}:${i + 1}: ${line.trim()}`);
      }
    }
  }
  none(problems);
});

test("the pages about rooms are current", () => {
  for (const name of ["packages/log"]) {
    const advice = `run: node tools/rooms.ts ${name}`;
    assert.equal(read(roomsPath(name)), roomsPage(name), advice);
  }
});
