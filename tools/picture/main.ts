/**
 * Draws `docs/first-record.svg` from a real run: a server on a directory of its own, and the
 * commands of the README against it. `node tools/picture/main.ts`
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Step, terminalPicture } from "./terminal.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cli = join(root, "packages/cli/src/main.ts");

/** As in the README. */
const commands = [
  "./millrace topic create logs --partitions 2",
  "./millrace produce logs README.md",
  "./millrace consume logs --until-end --max 3 --format '%p @%o  %v\\n'",
  "./millrace cluster status",
];

const directory = mkdtempSync(join(tmpdir(), "millrace-picture-"));
const listens = ["listen", "internal-listen", "health-listen", "http-listen"];
const flags = listens.flatMap((name) => [`--${name}`, "127.0.0.1:0"]);
const server = spawn(process.execPath, [cli, "serve", "--data-dir", directory, ...flags], {
  stdio: ["ignore", "ignore", "pipe"],
});
let said = "";
server.stderr.on("data", (chunk: Buffer) => {
  said += chunk.toString();
});

try {
  const endpoints = join(directory, "endpoints.json");
  for (let i = 0; i < 600 && !existsSync(endpoints); i += 1) await sleep(50);
  const { client } = JSON.parse(readFileSync(endpoints, "utf8")) as { client: string };
  const ready = said.split("\n").find((line) => line.includes("is ready")) ?? "";
  // The ports of `npm start`, which has the machine to itself.
  const [, before = ready] = /^(.*): clients /.exec(ready) ?? [];
  const steps: Step[] = [{ typed: "npm start &", printed: `${before}: clients 127.0.0.1:7400, …` }];
  for (const typed of commands) {
    const script = typed.replace("./millrace", `"${process.execPath}" "${cli}"`);
    const env = { ...process.env, MILLRACE_BOOTSTRAP: client };
    const done = spawnSync("sh", ["-c", script], { cwd: root, env, encoding: "utf8" });
    if (done.status !== 0) throw new Error(`${typed}: ${done.stderr}`);
    steps.push({ typed, printed: done.stdout + done.stderr });
  }
  const title = "A first record: start, create a topic, produce, consume, look";
  writeFileSync(join(root, "docs/first-record.svg"), terminalPicture(title, steps));
} finally {
  server.kill("SIGTERM");
  rmSync(directory, { recursive: true, force: true });
}
