/**
 * `npm run bench:fetch`: the systems and clients that we measure against, by package name, into a
 * cache outside of the clone. Needs Java 17, Maven, Go and a C compiler; a few minutes and 1 GiB
 * the first time, nothing afterwards.
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));

/** Where the peers are; `MILLRACE_PEERS` chooses another place. */
export const peersDirectory = (): string =>
  process.env["MILLRACE_PEERS"] ??
  join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "millrace", "peers");

const run = (
  cwd: string,
  env: Readonly<Record<string, string>>,
  command: string,
  ...args: string[]
): void => {
  console.error(`$ ${command} ${args.join(" ")}`);
  const done = spawnSync(command, args, {
    cwd,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, ...env },
  });
  if (done.status !== 0) throw new Error(`${command} ended with ${done.status}`);
};

const unless = (path: string, make: () => void): void => {
  if (!existsSync(path)) make();
};

const clients = ["kafkajs@2.2.4", "@platformatic/kafka@2.12.1"];

/** librdkafka's source comes inside an npm package of its makers. */
const librdkafka = (root: string): void => {
  const node = join(root, "node");
  run(
    node,
    {},
    "npm",
    "i",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "@confluentinc/kafka-javascript@1.10.1",
  );
  const source = join(root, "rdksrc");
  cpSync(join(node, "node_modules/@confluentinc/kafka-javascript/deps/librdkafka"), source, {
    recursive: true,
  });
  run(
    source,
    {},
    "./configure",
    `--prefix=${join(root, "rdk")}`,
    "--disable-gssapi",
    "--disable-curl",
  );
  run(source, {}, "make", "-j2", "libs");
  run(source, {}, "make", "-C", "src", "install");
};

export const fetchPeers = (): string => {
  const root = peersDirectory();
  mkdirSync(join(root, "node"), { recursive: true });
  for (const profile of ["server", "tools"]) {
    const out = join(root, "kafka/libs", profile);
    unless(out, () =>
      run(
        here,
        {},
        "mvn",
        "-q",
        "-B",
        "-P",
        profile,
        "dependency:copy-dependencies",
        `-DoutputDirectory=${out}`,
      ),
    );
  }
  const go = { GOBIN: join(root, "nats/bin"), GOTOOLCHAIN: "local", CGO_ENABLED: "0" };
  unless(join(root, "nats/bin/nats-server"), () =>
    run(root, go, "go", "install", "github.com/nats-io/nats-server/v2@v2.15.2"),
  );
  unless(join(root, "nats/bin/nats"), () =>
    run(root, go, "go", "install", "github.com/nats-io/natscli/nats@v0.5.1"),
  );
  unless(join(root, "node/node_modules/kafkajs"), () => {
    writeFileSync(join(root, "node/package.json"), '{"private":true,"type":"module"}\n');
    run(join(root, "node"), {}, "npm", "i", "--no-audit", "--no-fund", ...clients);
  });
  unless(join(root, "rdk/lib"), () => librdkafka(root));
  unless(join(root, "rdk/produce"), () => {
    const rdk = join(root, "rdk");
    const flags = [`-I${rdk}/include`, `-L${rdk}/lib`, `-Wl,-rpath,${rdk}/lib`];
    run(here, {}, "gcc", "-O2", "-o", join(rdk, "produce"), "produce.c", ...flags, "-lrdkafka");
  });
  return root;
};

if (import.meta.main) console.log(fetchPeers());
