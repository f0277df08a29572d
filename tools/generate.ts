/**
 * `npm run generate`: everything in the repository that is made from something else. With
 * `--check`, changes nothing and fails when something is not current.
 */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const modules = join(root, "node_modules");

/** Protos of gRPC's own, from the packages that carry them. */
const wellKnown: readonly (readonly [string, string])[] = [
  ["google/rpc/status.proto", "google-proto-files/google/rpc/status.proto"],
  ["google/rpc/error_details.proto", "google-proto-files/google/rpc/error_details.proto"],
  ["grpc/health/v1/health.proto", "grpc-health-check/proto/health/v1/health.proto"],
  [
    "grpc/reflection/v1/reflection.proto",
    "@grpc/reflection/build/proto/grpc/reflection/v1/reflection.proto",
  ],
  [
    "grpc/reflection/v1alpha/reflection.proto",
    "@grpc/reflection/build/proto/grpc/reflection/v1alpha/reflection.proto",
  ],
];

const buf = (args: readonly string[]): void => {
  const path = `${join(modules, ".bin")}:${process.env["PATH"] ?? ""}`;
  const done = spawnSync(join(modules, ".bin", "buf"), args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: path },
  });
  if (done.status !== 0) process.exit(done.status ?? 1);
};

/** Files by path, into a directory. */
const write = (into: string, files: ReadonlyMap<string, string>): void => {
  for (const [path, text] of files) {
    mkdirSync(dirname(join(into, path)), { recursive: true });
    writeFileSync(join(into, path), text);
  }
};

/** Generates into `<into>/packages/…/gen`, and so on. */
const generateInto = async (into: string): Promise<void> => {
  const protos = mkdtempSync(join(tmpdir(), "millrace-protos-"));
  try {
    buf(["generate", "-o", into]);
    for (const [to, from] of wellKnown) {
      mkdirSync(dirname(join(protos, to)), { recursive: true });
      cpSync(join(modules, from), join(protos, to));
    }
    const rpc = join(into, "packages/rpc");
    mkdirSync(rpc, { recursive: true });
    buf(["generate", protos, "--template", "packages/rpc/buf.gen.yaml", "-o", rpc]);
    // The reference imports the sources, and those may use what has just been generated.
    const { productFile } = await import("./kubernetes/product.ts");
    write(into, new Map([["operator/gen/product.ts", productFile()]]));
    const { referencePages } = await import("./reference.ts");
    write(into, referencePages(root));
    const { crdFiles } = await import("./kubernetes/crds.ts");
    write(into, crdFiles());
  } finally {
    rmSync(protos, { recursive: true });
  }
};

const filesUnder = (directory: string): string[] =>
  existsSync(directory)
    ? readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
        .sort()
    : [];

/** What holds generated files alone. */
const folders = [
  "packages/proto/gen",
  "packages/rpc/gen",
  "operator/gen",
  "docs/reference",
  "deploy/helm/millrace-crds/templates",
];

/** Names of generated files that differ, are missing or are too many. */
const differences = (fresh: string): string[] => {
  const different: string[] = [];
  for (const folder of folders) {
    const names = new Set([...filesUnder(join(root, folder)), ...filesUnder(join(fresh, folder))]);
    for (const name of names) {
      const [have, want] = [join(root, folder, name), join(fresh, folder, name)];
      const same =
        existsSync(have) && existsSync(want) && readFileSync(have).equals(readFileSync(want));
      if (!same) different.push(`${folder}/${name}`);
    }
  }
  return different;
};

if (process.argv.includes("--check")) {
  const fresh = mkdtempSync(join(tmpdir(), "millrace-generated-"));
  try {
    await generateInto(fresh);
    const different = differences(fresh);
    if (different.length > 0) {
      console.error(`not current, run npm run generate:\n${different.join("\n")}`);
      process.exitCode = 1;
    }
  } finally {
    rmSync(fresh, { recursive: true });
  }
} else {
  await generateInto(root);
}
