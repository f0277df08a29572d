/** Maintenance leases by command, of a server that is alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runMillrace, withServer } from "./command.ts";

test("a lease is asked for, shown, kept and given back by command", {
  timeout: 120_000,
}, async () => {
  await withServer(async (endpoint) => {
    const run = (...args: string[]) => runMillrace(endpoint, "", ...args);
    const done = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await run(...args);
      assert.equal(code, 0, `${args.join(" ")}: ${err}`);
      return out + err;
    };
    const refused = async (expected: RegExp, ...args: string[]): Promise<void> => {
      const { code, err } = await run(...args);
      assert.equal(code, 1, args.join(" "));
      assert.match(err, expected);
    };
    await done("topic", "create", "t");
    const restart = ["maintenance", "acquire", "0", "--kind", "restart", "--holder", "me"];
    const inTheWay = /error: MAINTENANCE_BLOCKED: .*t\/0 would have 0 of 1 replicas in sync/;
    await refused(inTheWay, ...restart);
    await refused(inTheWay, ...restart, "--dry-run");
    const allowed = await run(...restart, "--allow-unavailable", "--dry-run", "-O", "json");
    assert.equal(JSON.parse(allowed.out).lease, null);
    assert.match(await done("cluster", "status"), /^maintenance +none$/m);
    const granted = await done(...restart, "--allow-unavailable", "--reason", "a new kernel");
    const token = /restart +me +(\d+) +60 s left/.exec(granted)?.[1] ?? "";
    assert.match(granted, /t\/0 would have 0 of 1/, "what takes no writes meanwhile is named");
    assert.match(
      await done("maintenance", "list"),
      new RegExp(`^0 +restart +me +${token} .*a new`, "m"),
    );
    assert.match(
      await done("cluster", "status"),
      /^maintenance +broker 0 \(restart, me, \d+ s left\)$/m,
    );
    assert.match(await done("broker", "describe", "0"), / [0-9a-f]{32} +restart \(me\)$/m);
    assert.match(await done("maintenance", "renew", "0", "--token", token), / me +\d+ +60 s left/);
    await refused(/MAINTENANCE_LEASE_LOST/, "maintenance", "renew", "0", "--token", "1");
    const others = ["maintenance", "acquire", "0", "--kind", "drain", "--holder", "you"];
    await refused(/me holds a maintenance lease of broker 0 \(restart\)/, ...others);
    await refused(/MAINTENANCE_LEASE_LOST/, "maintenance", "release", "0", "--token", "1");
    assert.match(await done("maintenance", "release", "0", "--token", token), /is released/);
    await refused(
      /MAINTENANCE_LEASE_LOST.*is gone/,
      "maintenance",
      "release",
      "0",
      "--token",
      token,
    );
    await refused(/t\/0 has 1 replicas, and 0 brokers/, ...others);
    await refused(/runs on this data directory/, ...others.with(4, "replace-disk"));
    await refused(/is not decommissioned with this/, ...others.with(4, "remove"));
    await refused(/no broker 7 is registered/, "maintenance", "acquire", "7", "--kind", "restart");
    assert.match(await done("maintenance", "release", "0", "--force"), /is released/);
    assert.deepEqual(JSON.parse((await run("maintenance", "list", "-O", "json")).out), []);
  });
});
