/** Files whose checksums are right, and which have numbers that no log ever comes to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { PartitionMetaSchema, RecoveryPointsSchema } from "@millrace/proto/storage";
import { Incarnation } from "@millrace/sim";
import { atOnce } from "../files/breathe.ts";
import { magics, readFramed, writeFramed } from "../files/checksummed-file.ts";
import { partitionDirectory, paths } from "../files/paths.ts";
import { decodeRoundSteps, encodeRound, roundMax } from "../journal/format.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const absurd = 2n ** 57n;

/** Changes a file of the stopped process, with a right checksum. */
const rewrite = async (
  { disk, kernel }: Simulation,
  path: string,
  magic: Parameters<typeof readFramed>[2],
  change: (body: Uint8Array) => Uint8Array,
): Promise<void> => {
  const mounted = disk.mount(new Incarnation(kernel));
  const found = await readFramed(mounted, path, magic);
  assert.ok(found.kind === "ok");
  await writeFramed(mounted, path, magic, [change(found.body)]);
};

/** Two partitions with a record each, and a recovery point. */
const stopped = async ({ start }: Simulation): Promise<void> => {
  const life = await start();
  for (const index of [0, 1]) {
    const log = await life.log(index);
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: `before ${index}` }])]);
  }
  await (await life.log(0)).flush();
  life.die("process");
};

/** The other partition goes on, also after one more start. */
const goesOn = async ({ start }: Simulation): Promise<string> => {
  const life = await start();
  const log = await life.log(1);
  await log.becomeLeader(2);
  await appendAll(log, [batchOf([{ value: "after" }])], 2);
  life.die("power");
  const again = await start();
  const values = await readAll(await again.log(1), 0, 1e6, "log_end");
  assert.deepEqual(
    values.map(({ value }) => value),
    ["before 1", "after"],
  );
  return again.manager.get(topicA, 0)?.state.kind ?? "gone";
};

test("a partition's meta file names it: that partition is offline, and no other", async () => {
  await simulate({}, async (simulation) => {
    await stopped(simulation);
    const path = `${partitionDirectory(topicA, 0)}/meta`;
    await rewrite(simulation, path, magics.partitionMeta, (body) => {
      const meta = fromBinary(PartitionMetaSchema, body);
      return toBinary(PartitionMetaSchema, { ...meta, firstRound: absurd });
    });
    assert.equal(await goesOn(simulation), "offline");
  });
});

const pointsWith = {
  journalRound: { journalRound: absurd },
  offset: { offset: absurd },
  positionBytes: { positionBytes: absurd },
  logStartOffset: { logStartOffset: absurd },
  highWatermark: { highWatermark: absurd },
  coveredRound: {},
} as const;

for (const [what, changes] of Object.entries(pointsWith)) {
  test(`recovery points have it as ${what}: their copy is believed`, async () => {
    await simulate({}, async (simulation) => {
      await stopped(simulation);
      await rewrite(simulation, paths.recoveryPoints, magics.recoveryPoints, (body) => {
        const found = fromBinary(RecoveryPointsSchema, body);
        const points = found.points.map((point) => ({ ...point, ...changes }));
        const changed = create(RecoveryPointsSchema, { ...found, points });
        if (what === "coveredRound") changed.coveredRound = absurd;
        return toBinary(RecoveryPointsSchema, changed);
      });
      assert.equal(await goesOn(simulation), "online");
    });
  });
}

test("a round of the journal has it for its number: it is none", () => {
  const directoryId = new Uint8Array(16);
  const roundAt = (round: number) => {
    const bytes = Buffer.concat(encodeRound(directoryId, round, 1, []));
    return atOnce(decodeRoundSteps(bytes, 0, directoryId))?.round;
  };
  assert.equal(roundAt(roundMax), roundMax);
  assert.equal(roundAt(roundMax + 1), undefined);
});
