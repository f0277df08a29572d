/** `consume --group` and `group …`, against a real server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runMillrace, startMillrace, until, withServer } from "./command.ts";

const limit = { timeout: 120_000 };

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");

/** Keys at any depth that are not snake_case. */
const wrongKeys = (value: unknown): string[] => {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [
    ...(/^([a-z][a-z0-9_]*|\d+)$/.test(key) ? [] : [key]),
    ...wrongKeys(inner),
  ]);
};

test(
  "members on the command line share, say what they read, commit and leave",
  limit,
  async (context) => {
    await withServer(async (endpoint) => {
      const millrace = (...argv: string[]) => runMillrace(endpoint, "", ...argv);
      await millrace("topic", "create", "orders", "--partitions", "4");
      for (const partition of ["0", "1", "2", "3"]) {
        const values = Array.from({ length: 5 }, (_, n) => `p${partition}-${n}\n`).join("");
        await runMillrace(endpoint, values, "produce", "orders", "-p", partition, "-q");
      }
      const start = (...argv: string[]) => {
        const flags = ["-g", "billing", "--from", "earliest"];
        const running = startMillrace(endpoint, "consume", ...flags, ...argv);
        context.after(() => running.child.kill("SIGKILL"));
        return running;
      };
      const a = start("orders");
      await until(() => lines(a.out()).length === 20);
      assert.match(a.err(), /^joined group billing: partitions orders 0-3$/m);
      const b = start("ord*", "absent");
      await until(() => /^joined group billing: partitions orders \d(,|-)\d$/m.test(b.err()));
      await until(() => /^topic absent does not exist: it is read once it does$/m.test(b.err()));
      await until(() => lines(a.err()).length >= 2);

      const described = await millrace("group", "describe", "billing");
      assert.equal(described.code, 0);
      assert.match(described.out, /^billing {2}stable {2}epoch \d+ {2}assignor uniform/);
      for (const line of lines(described.out)) assert.ok(line.length <= 60, line);
      const json = JSON.parse((await millrace("group", "describe", "billing", "-O", "json")).out);
      assert.deepEqual(wrongKeys(json), []);
      assert.deepEqual([json.state, json.members.length], ["stable", 2]);
      assert.deepEqual(
        json.partitions.map((one: Record<string, unknown>) => one["end_offset"]),
        [5, 5, 5, 5],
      );
      assert.match((await millrace("group", "list")).out, /^billing +stable +2$/m);
      assert.equal((await millrace("complete", "--", "group", "describe", "b")).out, "billing\n");
      assert.equal((await millrace("complete", "--", "consume", "-g", "b")).out, "billing\n");

      b.child.kill("SIGINT");
      assert.equal((await b.ended).code, 130);
      await until(() => /partitions orders 0-3\n$/.test(a.err()));
      assert.equal(lines(a.out()).length, 20, "nothing is repeated");

      const refused = await millrace("group", "delete", "billing");
      assert.deepEqual([refused.code, /NON_EMPTY_GROUP/.test(refused.err)], [1, true]);
      const dry = await millrace("group", "reset", "billing", "orders", "--to", "-1", "--dry-run");
      assert.deepEqual(lines(dry.out).slice(1), [
        "0          4",
        "1          4",
        "2          4",
        "3          4",
      ]);
      assert.equal(lines(a.out()).length, 20, "that was a question");
      assert.equal((await millrace("group", "reset", "billing", "orders", "--to", "4")).code, 0);
      await until(() => lines(a.out()).length === 24);
      a.child.kill("SIGTERM");
      assert.equal((await a.ended).code, 143);
      const after = JSON.parse((await millrace("group", "describe", "billing", "-O", "json")).out);
      assert.deepEqual(
        after.partitions.map((one: Record<string, unknown>) => [
          one["committed_offset"],
          one["lag_records"],
          one["lag_seconds"],
        ]),
        [0, 1, 2, 3].map(() => [5, 0, 0]),
      );
      assert.equal((await millrace("group", "delete", "billing")).err, "deleted group billing\n");
      const gone = await millrace("group", "describe", "billing");
      assert.match(gone.err, /^error: GROUP_ID_NOT_FOUND: /);
    });
  },
);

test("a member that stops after some records has committed exactly these", limit, async () => {
  await withServer(async (endpoint) => {
    const millrace = (...argv: string[]) => runMillrace(endpoint, "", ...argv);
    await millrace("topic", "create", "t");
    await runMillrace(endpoint, "a\nb\nc\nd\ne\n", "produce", "t");
    const some = async (count: string): Promise<string> => {
      const flags = ["-g", "g", "-n", count, "-q", "--from", "earliest"];
      const { code, err, out } = await millrace("consume", "t", ...flags);
      assert.deepEqual([code, err], [0, ""]);
      return out;
    };
    assert.equal(await some("2"), "a\nb\n");
    assert.equal(await some("1"), "c\n");
    assert.equal(await some("2"), "d\ne\n");
    for (const wrong of [["-e"], ["--to", "3"], ["-p", "0"], ["--from", "3"]]) {
      const { code, err } = await millrace("consume", "t", "-g", "g", ...wrong);
      assert.equal(code, 2, err);
      assert.match(err, /^error: INVALID_REQUEST: .*--group/);
    }
  });
});
