import assert from "node:assert/strict";
import { test } from "node:test";
import type { DiskOperation } from "../disk.ts";
import { SimDisk } from "../disk.ts";
import { Kernel } from "../kernel.ts";
import { SeededRandom } from "../random.ts";
import { Counts, FaultPlan } from "./faults.ts";
import type { Kind } from "./kinds.ts";

const partition = `${"0123456789abcdef".repeat(2)}-00000`;

/** A plan with one fault of a kind, and how to ask it about operations on files. */
const planned = (kind: Kind, seed: number) => {
  const plan = new FaultPlan(new Counts());
  const disk = new SimDisk(new Kernel(seed).random);
  plan.attach(disk);
  plan.arm(kind, new SeededRandom(seed));
  /** The first error that the file gives. */
  const meets = (operations: readonly DiskOperation[], path: string): string | undefined => {
    for (let times = 0; times < 20; times += 1) {
      for (const operation of operations) {
        const code = disk.fault(operation, path);
        if (code !== undefined) return code;
      }
    }
    return undefined;
  };
  return { plan, meets };
};

const names: readonly DiskOperation[] = ["open", "rename"];

test("leader epochs that cannot be written excuse no stop", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const { plan, meets } = planned("nameFault", seed);
    assert.match(meets(names, `partitions/${partition}/leader-epochs.tmp`) ?? "", /EACCES|EISDIR/);
    assert.deepEqual([plan.mayStop, plan.sharedFailed], [false, false]);
    assert.deepEqual([plan.faulty.size, [...plan.faultyEpochs]], [0, [partition]]);
  }
});

test("names that all share can be used", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    assert.equal(planned("nameFault", seed).meets(names, "recovery-points.tmp"), undefined);
  }
});

for (const kind of ["readFault", "openFault"] as const) {
  test(`every kind of file meets a ${kind}`, () => {
    const operations: readonly DiskOperation[] = [kind === "readFault" ? "read" : "open"];
    const files = [
      "journal/00000000.journal",
      "journal-files",
      "recovery-points",
      "recovery-points.copy",
      "clean",
      `partitions/${partition}/meta`,
      `partitions/${partition}/${"0".repeat(20)}.log`,
      `partitions/${partition}/offline`,
    ];
    for (const file of files) {
      const seeds = Array.from({ length: 200 }, (_, seed) => seed);
      assert.ok(
        seeds.some((seed) => planned(kind, seed).meets(operations, file) === "EIO"),
        file,
      );
    }
  });
}
