/** The image of the server: what the Dockerfile says, above Node and its libraries alone. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, version } from "../pack/workspace.ts";
import { run } from "../programs.ts";
import { makeBase, userId } from "./base.ts";
import { billOfMaterials, type Installed } from "./bill-of-materials.ts";
import { copyStage, execForm, only, stages, variables } from "./dockerfile.ts";
import { type ImageConfig, Layout, type PackedLayer } from "./oci.ts";

export const imageName = `localhost/millrace:${version}`;

/** npm may have to fetch every dependency. */
const installMsMax = 300_000;

/** How the Dockerfile says that the image is run. */
export const serverConfig = (): ImageConfig => {
  const image = stages().at(-1) ?? [];
  const environment = { PATH: "/usr/local/bin", ...variables(image) };
  return {
    entrypoint: execForm(only(image, "ENTRYPOINT")),
    command: execForm(only(image, "CMD")),
    user: `${userId}:${userId}`,
    workingDirectory: only(image, "WORKDIR"),
    environment: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    ports: only(image, "EXPOSE")
      .split(" ")
      .map((port) => `${port}/tcp`),
    volumes: [only(image, "VOLUME")],
    stopSignal: only(image, "STOPSIGNAL"),
  };
};

/** Makes the product's directory by the instructions of the Dockerfile. */
const makeProduct = async (staging: string, into: string): Promise<Installed> => {
  const [, build = [], image = []] = stages();
  const built = join(staging, "build");
  for (const one of [built, into]) mkdirSync(one, { recursive: true });
  copyStage(build, built, {});
  const [program = "", ...args] = execForm(only(build, "RUN"));
  await run(program, args, { cwd: built, deadlineMs: installMsMax });
  copyStage(image, into, { build: built });
  // It says from where npm fetched, which differs from place to place.
  const lock = join(into, "node_modules", ".package-lock.json");
  const installed: Installed = JSON.parse(readFileSync(lock, "utf8"));
  rmSync(lock);
  return installed;
};

export interface MadeImage {
  readonly name: string;
  readonly digest: string;
  readonly layers: readonly PackedLayer[];
  /** Of all layers, compressed. */
  readonly bytes: number;
  /** A layout in a tar. */
  readonly file: string;
  readonly billOfMaterials: string;
}

const pack = async (staging: string, system: string, file: string): Promise<MadeImage> => {
  const config = serverConfig();
  const place = config.workingDirectory?.slice(1) ?? "";
  const data = config.volumes?.[0]?.slice(1) ?? "";
  const empty = join(staging, "empty");
  for (const path of [data, "tmp"]) mkdirSync(join(empty, path), { recursive: true });
  const layout = new Layout(join(staging, "layout"));
  const own = { directory: join(staging, "root") };
  const layers = [
    await layout.addLayer([
      { directory: system },
      { directory: empty, paths: ["tmp"], mode: "1777" },
      { directory: empty, paths: [data], mode: "0750", owner: config.user },
    ]),
    await layout.addLayer([{ ...own, paths: [`${place}/node_modules`] }]),
    await layout.addLayer([
      {
        ...own,
        paths: ["LICENSE", "package.json", "packages", "services"].map((one) => `${place}/${one}`),
      },
    ]),
  ];
  const digest = layout.addImage(imageName, config, layers);
  await layout.pack(file);
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  return { name: imageName, digest, layers, bytes, file, billOfMaterials: `${file}.cdx.json` };
};

/** Makes the image, as a tar with its bill of materials beside it. */
export const makeServerImage = async (file: string): Promise<MadeImage> => {
  const staging = mkdtempSync(join(tmpdir(), "millrace-image-"));
  try {
    const place = join(staging, "root", only(stages().at(-1) ?? [], "WORKDIR"));
    const installed = await makeProduct(staging, place);
    const system = join(staging, "system");
    const base = await makeBase(system, join(place, "node_modules"));
    const made = await pack(staging, system, file);
    const { optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const node: string = optionalDependencies[`node-linux-${process.arch}`];
    const bill = billOfMaterials(base, installed, node);
    writeFileSync(made.billOfMaterials, `${JSON.stringify(bill, null, 2)}\n`);
    return made;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};
