/** Images without a registry: an OCI layout in a tar, which containerd imports. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  createReadStream,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { buildMissing, programsDirectory } from "../go-programs.ts";
import { programAt } from "./machine.ts";
import { containerdSocket, pauseImage } from "./node-config.ts";
import { run } from "./run.ts";

const typeOf = (what: string): string => `application/vnd.oci.image.${what}`;

export interface ImageOptions {
  /** With a tag that is not `latest`, which would be pulled; such as `localhost/name:dev`. */
  readonly name: string;
  /** A directory that becomes `/`, as root's. */
  readonly root: string;
  readonly entrypoint: readonly string[];
  /** `UID:GID`, in numbers. */
  readonly user: string;
  readonly workingDirectory?: string;
  readonly environment?: readonly string[];
}

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const blobOf = (mediaType: string, content: string): Blob => {
  const hex = createHash("sha256").update(content).digest("hex");
  return { mediaType, digest: `sha256:${hex}`, size: Buffer.byteLength(content) };
};

/** The documents of an image, of one layer. */
export const imageDocuments = (options: ImageOptions, layer: Blob) => {
  const config = JSON.stringify({
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: {
      User: options.user,
      WorkingDir: options.workingDirectory ?? "/",
      Entrypoint: options.entrypoint,
      Env: options.environment ?? ["PATH=/usr/local/bin:/usr/bin:/bin"],
    },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  });
  const configBlob = blobOf(typeOf("config.v1+json"), config);
  const type = typeOf("manifest.v1+json");
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: type,
    config: configBlob,
    layers: [layer],
  });
  const manifestBlob = blobOf(type, manifest);
  const tag = options.name.slice(options.name.lastIndexOf(":") + 1);
  const annotations = {
    "io.containerd.image.name": options.name,
    "org.opencontainers.image.ref.name": tag,
  };
  const index = { schemaVersion: 2, manifests: [{ ...manifestBlob, annotations }] };
  return {
    index: JSON.stringify(index),
    blobs: [
      { blob: configBlob, content: config },
      { blob: manifestBlob, content: manifest },
    ],
  };
};

/** The same for the same files, whenever and by whomever it is made. */
const tarFlags = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];

const packTar = async (directory: string, file: string): Promise<void> => {
  await run("tar", [...tarFlags, "--format=gnu", "-C", directory, "-cf", file, "."]);
};

/** Writes an image into a tar, and returns its digest. */
export const packImage = async (options: ImageOptions, file: string): Promise<string> => {
  const staging = mkdtempSync(join(tmpdir(), "millrace-image-"));
  try {
    const layout = join(staging, "layout");
    const blobs = join(layout, "blobs", "sha256");
    mkdirSync(blobs, { recursive: true });
    const layerFile = join(staging, "layer.tar");
    await packTar(options.root, layerFile);
    const hash = createHash("sha256");
    await pipeline(createReadStream(layerFile), hash);
    const digest = `sha256:${hash.digest("hex")}`;
    const layer = { mediaType: typeOf("layer.v1.tar"), digest, size: statSync(layerFile).size };
    const { blobs: documents, index } = imageDocuments(options, layer);
    const pathOf = (one: Blob): string => join(blobs, one.digest.slice("sha256:".length));
    renameSync(layerFile, pathOf(layer));
    for (const { blob, content } of documents) writeFileSync(pathOf(blob), content);
    writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
    writeFileSync(join(layout, "index.json"), index);
    await packTar(layout, file);
    return documents[1]?.blob.digest ?? "";
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};

/** Gives the image of a tar to the node whose directory this is. */
export const importImage = async (tar: string, directory: string): Promise<void> => {
  const ctr = programAt("ctr") ?? "ctr";
  const socket = ["-a", containerdSocket(directory), "-n", "k8s.io"];
  await run(ctr, [...socket, "images", "import", tar]);
};

/** Writes the image that holds the namespaces of every pod; built with Go, once. */
export const packPauseImage = async (file: string): Promise<string> => {
  const module = fileURLToPath(new URL("pause/", import.meta.url));
  const programs = programsDirectory("kubernetes-pause", module, ["go.mod", "main.go"]);
  buildMissing(programs, module, { pause: "." }, ["-ldflags=-s -w"]);
  const root = mkdtempSync(join(dirname(file), "pause-"));
  try {
    copyFileSync(join(programs, "pause"), join(root, "pause"));
    for (const path of [root, join(root, "pause")]) chmodSync(path, 0o755);
    const user = "65535:65535";
    return await packImage({ name: pauseImage, root, entrypoint: ["/pause"], user }, file);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
};
