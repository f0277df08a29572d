import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, Kernel, SimDisk } from "@millrace/sim";
import { PatientDisk } from "./patient-disk.ts";

/** Runs a test with a patient disk in virtual time. */
const withDisk = async (
  run: (kernel: Kernel, disk: SimDisk, patient: PatientDisk) => Promise<void>,
): Promise<void> => {
  const kernel = new Kernel(1);
  const disk = new SimDisk(kernel.random);
  const process = new Incarnation(kernel);
  await kernel.run(run(kernel, disk, new PatientDisk(disk.mount(process), process.clock())));
};

/** What needs a descriptor: `[operation, call]`. */
const calls: readonly (readonly [string, (disk: PatientDisk) => Promise<unknown>])[] = [
  ["open", (disk) => disk.open("x", "create")],
  ["list", (disk) => disk.list(".")],
  ["syncDirectory", (disk) => disk.syncDirectory(".")],
];

test("descriptors are waited for, and each attempt asks for idle ones to be closed", async () => {
  for (const [operation, call] of calls) {
    for (const code of ["EMFILE", "ENFILE"]) {
      await withDisk(async (_, disk, patient) => {
        let left = 5;
        let asked = 0;
        disk.fault = (what) => {
          if (what !== operation || left === 0) return undefined;
          left -= 1;
          return code;
        };
        patient.attach({
          onShortage: () => {
            asked += 1;
          },
          onSyncFailure: assert.fail,
        });
        await call(patient);
        assert.deepEqual([left, asked], [0, 5], `${code} of ${operation}`);
      });
    }
  }
});

test("a shortage that does not end is the caller's after ten seconds", async () => {
  for (const [operation, call] of calls) {
    await withDisk(async (kernel, disk, patient) => {
      disk.fault = (what) => (what === operation ? "EMFILE" : undefined);
      const startedMs = kernel.nowMs;
      await assert.rejects(call(patient), { code: "EMFILE" });
      const waitedMs = kernel.nowMs - startedMs;
      assert.ok(waitedMs >= 10_000 && waitedMs < 11_000, `${waitedMs} ms`);
    });
  }
});
