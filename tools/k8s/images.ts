/** Images for the node: without a registry, containerd imports them. */
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildMissing, programsDirectory } from "../go-programs.ts";
import { Layout } from "../images/oci.ts";
import { programAt, run } from "../programs.ts";
import { containerdSocket, pauseImage } from "./node-config.ts";

/** Gives the images of a tar to the node whose directory this is. */
export const importImages = async (tar: string, directory: string): Promise<void> => {
  const ctr = programAt("ctr") ?? "ctr";
  const socket = ["-a", containerdSocket(directory), "-n", "k8s.io"];
  await run(ctr, [...socket, "images", "import", tar]);
};

/** Writes the image that holds the namespaces of every pod; built with Go, once. */
export const packPauseImage = async (file: string): Promise<void> => {
  const module = fileURLToPath(new URL("pause/", import.meta.url));
  const programs = programsDirectory("kubernetes-pause", module, ["go.mod", "main.go"]);
  buildMissing(programs, module, { pause: "." }, ["-ldflags=-s -w"]);
  const staging = mkdtempSync(join(tmpdir(), "millrace-pause-"));
  try {
    const [root, pause] = [join(staging, "root"), join(staging, "root", "pause")];
    mkdirSync(root);
    copyFileSync(join(programs, "pause"), pause);
    chmodSync(pause, 0o755);
    const layout = new Layout(join(staging, "layout"));
    const layers = [await layout.addLayer([{ directory: root }])];
    layout.addImage(pauseImage, { entrypoint: ["/pause"], user: "65535:65535" }, layers);
    await layout.pack(file);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};
