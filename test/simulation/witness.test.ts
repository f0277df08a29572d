import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { EmbeddedStore, encodeRecord, keys, type Operation } from "@millrace/metadata";
import { ControllerRecordSchema } from "@millrace/proto/storage";
import { Incarnation, Kernel, mountStore, SeededRandom } from "@millrace/sim";
import { witnessed } from "./witness.ts";

const elect = (controllerId: number): Operation => ({
  type: "put",
  key: keys.controller,
  value: encodeRecord.controller(create(ControllerRecordSchema, { controllerId })),
});

const decide: Operation = { type: "put", key: keys.topic("t"), value: Buffer.from("v") };

/** What is broken once controller 1 was elected, and another one, or it, has written. */
const brokenBy = async (controllerId: number, written: Operation): Promise<string | undefined> => {
  const kernel = new Kernel(1);
  const process = new Incarnation(kernel, "c0");
  const data = new EmbeddedStore({ clock: process.clock(), random: new SeededRandom(1) });
  const store = witnessed(mountStore(data, process), controllerId, kernel);
  const work = async (): Promise<void> => {
    await data.txn([], [elect(1)]);
    const { results } = await store.txn([], [written]);
    assert.deepEqual(results, [{ type: "put" }], "the question is not among the results");
    const refused = { key: keys.controller, target: "createRevision", equals: 999 } as const;
    assert.equal((await store.txn([refused], [decide])).succeeded, false);
  };
  await kernel.run(work()).catch((thrown: unknown) => {
    if (kernel.marks.broken === undefined) throw thrown;
  });
  return kernel.marks.broken;
};

test("who decides while another controller is active breaks the run", async () => {
  assert.equal(await brokenBy(1, decide), undefined);
  assert.equal(await brokenBy(0, decide), "cluster: controller 0 decides while 1 is active");
  const registration: Operation = { type: "put", key: keys.broker(0), value: Buffer.from("v") };
  assert.equal(await brokenBy(0, registration), undefined, "brokers register themselves");
});
