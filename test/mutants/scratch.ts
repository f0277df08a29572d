/** Scratch copies of the repository, so that a mutant never touches the working tree. */
import { spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Mutant } from "./mutant.ts";

/** What one run of a test file said. */
export interface TestRun {
  readonly passed: boolean;
  /** Name of the first test that failed, or how the run ended. */
  readonly firstFailure: string;
}

const failureOf = (output: string, timedOut: boolean): string => {
  if (timedOut) return "(no end within the time limit)";
  const names = [...output.matchAll(/^\s*not ok \d+ - (.*)$/gm)].map((match) => match[1] ?? "");
  // The file itself is reported as a failed test around the test that failed.
  return names.find((name) => !name.endsWith(".test.ts")) ?? names[0] ?? "(the run itself failed)";
};

/** Groups of tests that run now. */
const running = new Set<number>();

const endGroup = (pid: number): void => {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group has ended by itself.
  }
};

/** A test that hangs may fill the memory meanwhile: none outlives the runner. */
process.on("exit", () => {
  for (const pid of running) endGroup(pid);
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => process.exit(1));
}

export class Scratch {
  readonly root: string;

  constructor(repository: string) {
    this.root = mkdtempSync(join(tmpdir(), "millrace-mutants-"));
    const listed = spawnSync("git", ["ls-files", "-z", "-co", "--exclude-standard"], {
      cwd: repository,
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    for (const path of listed.stdout.split("\0")) {
      if (path === "" || !existsSync(join(repository, path))) continue;
      mkdirSync(dirname(join(this.root, path)), { recursive: true });
      cpSync(join(repository, path), join(this.root, path));
    }
    this.#linkModules(repository);
  }

  /** Third-party modules are shared; the project's own are those of the copy. */
  #linkModules(repository: string): void {
    const modules = join(this.root, "node_modules");
    mkdirSync(join(modules, "@millrace"), { recursive: true });
    for (const name of readdirSync(join(repository, "node_modules"))) {
      if (name === "@millrace") continue;
      symlinkSync(join(repository, "node_modules", name), join(modules, name));
    }
    for (const parent of ["packages", "services"]) {
      for (const name of readdirSync(join(this.root, parent))) {
        symlinkSync(join(this.root, parent, name), join(modules, "@millrace", name));
      }
    }
    symlinkSync(join(this.root, "operator"), join(modules, "@millrace", "operator"));
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), "utf8");
  }

  /** Puts the mutant in. Returns how to take it out again. */
  apply(mutant: Mutant): () => void {
    const original = this.read(mutant.file);
    let text = original;
    for (const [from, to] of mutant.replace) {
      if (text.split(from).length !== 2) throw new Error(`${mutant.name}: not once: ${from}`);
      text = text.replace(from, () => to);
    }
    writeFileSync(join(this.root, mutant.file), text);
    return () => writeFileSync(join(this.root, mutant.file), original);
  }

  /** Whether the changed file still loads: a mutant that does not is no mistake anyone ships. */
  loads(path: string): boolean {
    // A program would run, and what is no JavaScript is judged by its tests alone.
    if (path.startsWith("examples/") || !/\.[cm]?[jt]s$/.test(path)) return true;
    const script = `await import(${JSON.stringify(join(this.root, path))})`;
    const done = spawnSync(process.execPath, ["--input-type=module", "--eval", script], {
      cwd: this.root,
      timeout: 60_000,
    });
    return done.status === 0;
  }

  test(file: string, env: Readonly<Record<string, string>>, limitMs: number): Promise<TestRun> {
    const { NODE_TEST_CONTEXT: _, ...outer } = process.env;
    return new Promise((resolve) => {
      const child = spawn(process.execPath, ["--test", "--test-reporter=tap", file], {
        cwd: this.root,
        // Servers that a test starts die with its group.
        detached: true,
        env: { ...outer, ...env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let output = "";
      let timedOut = false;
      const take = (chunk: Buffer): void => {
        output += chunk.toString();
        // What a failed test leaves behind may keep the process from its end.
        if (/^\s*not ok .*$/m.test(output)) end();
      };
      const { pid } = child;
      if (pid !== undefined) running.add(pid);
      const end = (): void => {
        if (pid !== undefined) endGroup(pid);
      };
      child.stdout.on("data", take);
      child.stderr.on("data", take);
      const timer = setTimeout(() => {
        timedOut = true;
        end();
      }, limitMs);
      child.on("close", (code) => {
        clearTimeout(timer);
        end();
        if (pid !== undefined) running.delete(pid);
        const passed = code === 0 && !timedOut;
        resolve({ passed, firstFailure: passed ? "" : failureOf(output, timedOut) });
      });
    });
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
