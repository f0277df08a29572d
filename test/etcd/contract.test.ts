/** The contract of a metadata store, against a real etcd. */
import { after, before, test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { metadataContract } from "@millrace/metadata/contract";
import { openEtcdStore } from "@millrace/metadata/etcd";
import { Etcd, skipped } from "./etcd.ts";

let etcd: Etcd;
let tests = 0;

if (skipped !== false) test("etcd: the contract of a metadata store", { skip: skipped }, () => {});
else {
  before(async () => {
    etcd = await Etcd.start();
  });
  after(() => etcd.remove());
  metadataContract(
    "etcd",
    async () =>
      openEtcdStore({
        ...{ clock: nodeClock(), random: nodeRandom(), logger: silentLogger },
        ...{ endpoints: [etcd.endpoint], root: "/millrace/contract/" },
      }),
    () => `t${++tests}/`,
  );
}
