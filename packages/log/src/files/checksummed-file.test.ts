import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation, Kernel, SimDisk } from "@millrace/sim";
import { magics, readFramed, readWhole, replaceBy, writeFramed } from "./checksummed-file.ts";
import { PatientDisk } from "./patient-disk.ts";

/** Runs a test with a disk that holds the file `f` with the content `old`, durably. */
const withDisk = async (run: (disk: SimDisk, patient: PatientDisk) => Promise<void>) => {
  const kernel = new Kernel(1);
  const files = new Map([["f", Buffer.from("old")]]);
  const disk = SimDisk.of({ files, directories: ["."] }, kernel.random);
  const process = new Incarnation(kernel);
  await kernel.run(run(disk, new PatientDisk(disk.mount(process), process.clock())));
};

const write = (disk: PatientDisk) =>
  replaceBy(disk, "f", async (file) => {
    await file.write([Buffer.from("ne")], 0);
    await file.write([Buffer.from("w")], 2);
  });

test("a replaced file is durable with its name, and nothing else is left", async () => {
  await withDisk(async (disk, patient) => {
    await write(patient);
    disk.crash("power");
    assert.equal((await readWhole(patient, "f")).toString(), "new");
    assert.deepEqual([...disk.image().files.keys()], ["f"]);
  });
});

test("a large message is written in its parts, and read as a whole", async () => {
  await withDisk(async (disk, patient) => {
    const parts = ["a", "", "bc"].map((text) => Buffer.from(text));
    let written: readonly Uint8Array[] = [];
    const open = patient.open.bind(patient);
    patient.open = async (...args) => {
      const file = await open(...args);
      const write = file.write.bind(file);
      file.write = (chunks, position) => {
        written = chunks;
        return write(chunks, position);
      };
      return file;
    };
    await writeFramed(patient, "g", magics.producers, parts);
    for (const [i, part] of parts.entries()) assert.equal(written[i + 1], part, "not copied");
    disk.crash("power");
    const found = await readFramed(patient, "g", magics.producers);
    assert.deepEqual(found, { kind: "ok", body: Buffer.from("abc") });
  });
});

test("a file that an earlier attempt left is no part of the new one", async () => {
  await withDisk(async (disk, patient) => {
    const left = await patient.open("f.tmp", "create");
    await left.write([Buffer.from("a longer one")], 0);
    await left.close();
    await write(patient);
    assert.equal((await readWhole(patient, "f")).toString(), "new");
    assert.deepEqual([...disk.image().files.keys()], ["f"]);
  });
});

test("a replacement that fails leaves the old file alone, and no half of the new one", async () => {
  for (const operation of ["write", "sync"]) {
    for (const code of ["ENOSPC", "EDQUOT", "EIO"]) {
      await withDisk(async (disk, patient) => {
        let calls = 0;
        disk.fault = (what) => {
          if (what !== operation) return undefined;
          calls += 1;
          return calls === 1 ? code : undefined;
        };
        const what = `${code} of ${operation}`;
        await assert.rejects(write(patient), (e: Error & { code?: string }) =>
          code === "EIO" ? hasCode(e, ErrorCode.STORAGE_ERROR) : e.code === code,
        );
        assert.deepEqual([...disk.image().files.keys()], ["f"], what);
        assert.equal((await readWhole(patient, "f")).toString(), "old", what);
        // What failed for want of room may be tried again.
        await write(patient);
        assert.equal((await readWhole(patient, "f")).toString(), "new", what);
      });
    }
  }
});
