/**
 * Builds etcd, etcdctl and etcdutl of the version that `go.mod` beside this file pins, once, into a
 * cache outside of the clone. `node tools/etcd/build.ts` prints the directory.
 *
 * Needs Go; the first build downloads 0.2 GiB through Go's module proxy and takes about 110 s on
 * two cores.
 */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { buildMissing, programsDirectory } from "../go-programs.ts";

const here = dirname(fileURLToPath(import.meta.url));

/** Programs by the Go package that each is made from. */
const programs: Readonly<Record<string, string>> = {
  etcd: "go.etcd.io/etcd/server/v3",
  etcdctl: "go.etcd.io/etcd/etcdctl/v3",
  etcdutl: "go.etcd.io/etcd/etcdutl/v3",
};

/**
 * The directory with `etcd`, `etcdctl` and `etcdutl`, built where they are missing. Throws where
 * there is no Go, or the build fails.
 */
export const etcdPrograms = (): string => {
  const directory = programsDirectory("etcd", here);
  buildMissing(directory, here, programs);
  return directory;
};

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(etcdPrograms());
