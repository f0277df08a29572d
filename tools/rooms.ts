/**
 * `node tools/rooms.ts packages/log`: writes the page in `docs/internals/` about the rooms of a
 * package, the imports between them, and its sizes.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { functionLengths } from "./function-lengths.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;

/** Room of a file: its folder, or "the door" for files beside the rooms. */
const roomOf = (path: string): string => (path.includes("/") ? dirname(path) : "door");

interface Edge {
  readonly from: string;
  readonly to: string;
}

/** Imports between files of the package, from the imports' own text. */
const edgesOf = (source: string, files: readonly string[]): Edge[] =>
  files.flatMap((file) => {
    const text = readFileSync(join(source, file), "utf8");
    const imports = [...text.matchAll(/from "(\.[^"]+)"/g)];
    return imports.map(([, target = ""]) => ({
      from: file,
      to: normalize(join(dirname(file), target)),
    }));
  });

const pageOf = (name: string): string => {
  const source = join(root, name, "src");
  const files = globSync("**/*.ts", { cwd: source })
    .filter((file) => !/\.test\.ts$|testing/.test(file))
    .sort();
  const edges = edgesOf(source, files);
  const between = new Map<string, number>();
  for (const { from, to } of edges) {
    const key = `${roomOf(from)} ${roomOf(to)}`;
    if (roomOf(from) !== roomOf(to)) between.set(key, (between.get(key) ?? 0) + 1);
  }
  const sizes = files.map((file) => ({
    file,
    lines: readFileSync(join(source, file), "utf8").split("\n"),
  }));
  const lines = sizes.map(({ lines: all }) => all.length - 1);
  const functions = sizes.flatMap(({ file, lines: all }) =>
    functionLengths(all).map(([, length]) => ({ file, length })),
  );
  const longest = functions.toSorted((a, b) => b.length - a.length)[0];
  const largest = sizes.toSorted((a, b) => b.lines.length - a.lines.length)[0];
  const rooms = [...new Set(files.map(roomOf))].filter((room) => room !== "door");
  const count = (room: string): number => files.filter((file) => roomOf(file) === room).length;
  const arrows = [...between]
    .map(([key, times]) => ({ ends: key.split(" "), times }))
    .filter(({ ends }) => !ends.includes("door"));
  return `# The rooms of \`${name}\`

Made by \`node tools/rooms.ts ${name}\`; a test keeps it current. An arrow is labelled with the
number of imports. Files beside the rooms (${count("door")}: the API and what puts the rooms
together) are left out.

\`\`\`mermaid
flowchart TD
${rooms.map((room) => `  ${room}["${room}/ (${count(room)} files)"]`).join("\n")}
${arrows.map(({ ends: [from, to], times }) => `  ${from} -- ${times} --> ${to}`).join("\n")}
\`\`\`

| measure | value |
|---|---|
| files | ${files.length} |
| imports between files | ${edges.length} |
| imports between rooms | ${arrows.reduce((sum, { times }) => sum + times, 0)}, in ${arrows.length} arrows |
| median file | ${median(lines)} lines |
| largest file | \`${largest?.file}\`, ${(largest?.lines.length ?? 1) - 1} lines |
| median function | ${median(functions.map(({ length }) => length))} lines |
| largest function | ${longest?.length} lines, in \`${longest?.file}\` |
`;
};

/** Where the page of a package stands. */
export const roomsPath = (name: string): string =>
  join("docs", "internals", `${relative("packages", name)}-rooms.md`);

export const roomsPage = pageOf;

const [, script, name] = process.argv;
if (script === fileURLToPath(import.meta.url) && name !== undefined) {
  writeFileSync(join(root, roomsPath(name)), pageOf(name));
  console.log(roomsPath(name));
}
