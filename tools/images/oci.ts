/** Images as OCI says: layers of directories, the documents that name them, and their layout. */
import { createHash, type Hash } from "node:crypto";
import {
  createReadStream,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { constants, createGzip } from "node:zlib";
import { run } from "../programs.ts";

const typeOf = (what: string): string => `application/vnd.oci.image.${what}`;

/** What an image says of how it is run. */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly command?: readonly string[];
  /** `UID:GID`, in numbers: Kubernetes cannot tell otherwise that it is not root's. */
  readonly user: string;
  readonly workingDirectory?: string;
  readonly environment?: readonly string[];
  /** Such as `7400/tcp`. */
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly stopSignal?: string;
}

/** Files of a layer that have one owner and are readable in one way. */
export interface LayerPart {
  /** Becomes `/`. */
  readonly directory: string;
  /** What of it, with all that is below; everything where it is missing. */
  readonly paths?: readonly string[];
  /** `UID:GID`; root's where it is missing. */
  readonly owner?: string;
  /** As chmod takes it. */
  readonly mode?: string;
}

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface PackedLayer extends Blob {
  /** Of the layer before it was compressed. */
  readonly diffId: string;
}

const named = (mediaType: string, content: string): Blob => {
  const hex = createHash("sha256").update(content).digest("hex");
  return { mediaType, digest: `sha256:${hex}`, size: Buffer.byteLength(content) };
};

const setOf = (names: readonly string[] | undefined): Record<string, object> | undefined =>
  names && Object.fromEntries(names.map((name) => [name, {}]));

/** The configuration and the manifest of an image. */
export const imageDocuments = (config: ImageConfig, layers: readonly PackedLayer[]) => {
  const text = JSON.stringify({
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: {
      User: config.user,
      WorkingDir: config.workingDirectory ?? "/",
      Entrypoint: config.entrypoint,
      Cmd: config.command,
      Env: config.environment ?? ["PATH=/usr/local/bin:/usr/bin:/bin"],
      ExposedPorts: setOf(config.ports),
      Volumes: setOf(config.volumes),
      StopSignal: config.stopSignal,
    },
    rootfs: { type: "layers", diff_ids: layers.map((one) => one.diffId) },
  });
  const configBlob = named(typeOf("config.v1+json"), text);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: typeOf("manifest.v1+json"),
    config: configBlob,
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  });
  return {
    config: { blob: configBlob, content: text },
    manifest: { blob: named(typeOf("manifest.v1+json"), manifest), content: manifest },
  };
};

/** The same for the same files, whenever and by whomever it is made. */
const tarFlags = (owner: string, mode: string): string[] => {
  const [user, group] = owner.split(":");
  const names = [`--owner=${user}`, `--group=${group}`, "--numeric-owner", `--mode=${mode}`];
  return ["--sort=name", "--mtime=@0", "--format=gnu", ...names];
};

const readable = "u=rwX,go=rX";

/** Passes on what a hash has seen. */
const hashing = (hash: Hash) =>
  async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      hash.update(chunk);
      yield chunk;
    }
  };

/** An OCI layout that is being written. */
export class Layout {
  readonly directory: string;
  readonly #blobs: string;
  readonly #images: object[] = [];

  /** In a directory that is missing or empty. */
  constructor(directory: string) {
    this.directory = directory;
    this.#blobs = join(directory, "blobs", "sha256");
    mkdirSync(this.#blobs, { recursive: true });
    writeFileSync(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  }

  #pathOf({ digest }: Blob): string {
    return join(this.#blobs, digest.slice("sha256:".length));
  }

  async addLayer(parts: readonly LayerPart[]): Promise<PackedLayer> {
    const staging = mkdtempSync(join(tmpdir(), "millrace-layer-"));
    try {
      const [tar, packed] = [join(staging, "layer.tar"), join(this.directory, "layer.part")];
      for (const [i, { directory, mode = readable, owner = "0:0", paths }] of parts.entries()) {
        const place = ["-C", directory, i === 0 ? "-cf" : "-rf", tar];
        const all = paths ?? readdirSync(directory).sort();
        await run("tar", [...tarFlags(owner, mode), ...place, ...all]);
      }
      const [whole, small] = [createHash("sha256"), createHash("sha256")];
      const gzip = createGzip({ level: constants.Z_BEST_COMPRESSION });
      const out = createWriteStream(packed);
      await pipeline(createReadStream(tar), hashing(whole), gzip, hashing(small), out);
      const layer = {
        mediaType: typeOf("layer.v1.tar+gzip"),
        digest: `sha256:${small.digest("hex")}`,
        size: statSync(packed).size,
        diffId: `sha256:${whole.digest("hex")}`,
      };
      renameSync(packed, this.#pathOf(layer));
      return layer;
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
  }

  /**
   * Adds an image, and returns its digest. Its name has a tag that is not `latest`, which
   * Kubernetes would pull; such as `localhost/name:dev`.
   */
  addImage(name: string, config: ImageConfig, layers: readonly PackedLayer[]): string {
    const documents = imageDocuments(config, layers);
    for (const { blob, content } of Object.values(documents)) {
      writeFileSync(this.#pathOf(blob), content);
    }
    const annotations = {
      "io.containerd.image.name": name,
      "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
    };
    this.#images.push({ ...documents.manifest.blob, annotations });
    const index = { schemaVersion: 2, manifests: this.#images };
    writeFileSync(join(this.directory, "index.json"), JSON.stringify(index));
    return documents.manifest.blob.digest;
  }

  /** Writes the layout into a tar, as containerd, Docker and skopeo read it. */
  async pack(file: string): Promise<void> {
    const all = readdirSync(this.directory).sort();
    await run("tar", [...tarFlags("0:0", readable), "-C", this.directory, "-cf", file, ...all]);
  }
}
