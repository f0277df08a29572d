/**
 * A name of one partition that cannot be used takes that partition offline at a checkpoint, and no
 * other. What may be the disk's stops the directory: the journal still has what it may lack.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const settings = { log: { segmentBytes: 2048 } };
const directory = partitionDirectory(topicA, 1);

const batches = Array.from({ length: 20 }, (_, i) =>
  batchOf([{ value: `${i}`.padEnd(200, ".") }], {
    producerId: 7,
    producerEpoch: 0,
    baseSequence: i,
  }),
);

/** Two partitions; whatever `fails` says fails of the second one from the first append on. */
const twoLogs = async (
  { disk, start }: Simulation,
  fails: (operation: string, path: string) => string | undefined,
): Promise<readonly [PartitionLog, PartitionLog]> => {
  const { log: logOf } = await start();
  const logs = [await logOf(0), await logOf(1)] as const;
  for (const log of logs) await log.becomeLeader(1);
  disk.fault = (operation, path) =>
    path.startsWith(directory) ? fails(operation, path) : undefined;
  for (const log of logs) await appendAll(log, batches);
  return logs;
};

for (const code of ["EACCES", "EPERM", "EISDIR", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]) {
  for (const file of ["leader-epochs", "producers"]) {
    for (const how of ["open", "unlink", "rename"] as const) {
      const failing = (operation: string, path: string): string | undefined => {
        if (!path.includes(`/${file}`) || !path.endsWith(".tmp")) return undefined;
        // Something lies in the way, and cannot be removed.
        if (how === "unlink" && operation === "open") return "EEXIST";
        return operation === how ? code : undefined;
      };
      test(`${code} from ${how} of ${file} concerns one partition`, async () => {
        await simulate(settings, async (simulation) => {
          const { disk, kernel, start } = simulation;
          const [other, log] = await twoLogs(simulation, failing);
          await other.flush();
          assert.deepEqual([other.state.kind, log.state.kind], ["online", "offline"]);
          await appendAll(other, [batchOf([{ value: "later" }])]);
          await other.flush();
          simulation.die("power");
          disk.fault = () => undefined;
          const again = await start();
          const known = await again.log(1);
          assert.match("reason" in known.state ? known.state.reason : "", /cannot be written/);
          assert.equal((await readAll(await again.log(0), 0, 1e6, "log_end")).length, 21);
          simulation.die("power");
          // Put right: everything that was acknowledged is there, and its producer.
          const operator = new Incarnation(kernel);
          await disk.mount(operator).unlink(`${directory}/offline`);
          await disk.mount(operator).syncDirectory(directory);
          const mended = await (await start()).log(1);
          assert.deepEqual([mended.state.kind, mended.leaderEpoch], ["online", 1]);
          assert.equal((await readAll(mended, 0, 1e6, "log_end")).length, 20);
          const [retry] = await appendAll(mended, batches.slice(19));
          assert.deepEqual([retry?.duplicate, retry?.baseOffset], [true, 19]);
        });
      });
    }
  }
}

for (const [what, fails] of [
  ["EIO from a file's write", (o: string, p: string) => o === "write" && /epochs/.test(p)],
  ["EIO from a file's open", (o: string, p: string) => o === "open" && /producers/.test(p)],
  ["EIO from a directory's fsync", (o: string, p: string) => o === "syncDirectory" && p !== ""],
] as const) {
  test(`${what} stops the directory, and the next start has everything`, async () => {
    await simulate(settings, async (simulation) => {
      const { disk, start } = simulation;
      const [other] = await twoLogs(simulation, (operation, path) =>
        fails(operation, path) ? "EIO" : undefined,
      );
      await assert.rejects(other.flush());
      assert.equal(other.state.kind, "stopped");
      simulation.die("power");
      disk.fault = () => undefined;
      const again = await start();
      for (const i of [0, 1]) {
        const log = await again.log(i);
        assert.equal(log.state.kind, "online");
        assert.equal((await readAll(log, 0, 1e6, "log_end")).length, 20);
      }
    });
  });
}
