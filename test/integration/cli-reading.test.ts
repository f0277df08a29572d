/** What `millrace` reads, where it stops, and what it says meanwhile, against a real server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { runMillrace, startMillrace, until, withServer } from "./command.ts";
import { ServerProcess, withDirectory } from "./server.ts";

const within = async (ms: number, what: () => boolean): Promise<void> => {
  const endMs = performance.now() + ms;
  while (!what() && performance.now() < endMs) await sleep(20);
  assert.ok(what());
};

const lines = (text: string): string[] => text.split("\n").filter((line) => line !== "");

test("ranges by offset, time and count; several topics and patterns", {
  timeout: 120_000,
}, async () => {
  await withServer(async (endpoint) => {
    const millrace = (...argv: string[]) => runMillrace(endpoint, "", ...argv);
    const values = async (...argv: string[]) => {
      const { code, out, err } = await millrace("consume", ...argv, "--quiet");
      assert.deepEqual([code, err], [0, ""], argv.join(" "));
      return lines(out);
    };
    for (const name of ["logs-a", "logs-b", "other"]) await millrace("topic", "create", name);
    const objects = Array.from({ length: 10 }, (_, i) =>
      JSON.stringify({ key: "k", value: `a${i}`, timestamp: 1_700_000_000_000 + i * 1000 }),
    );
    const json = ["--format", "json"];
    const sent = await runMillrace(endpoint, objects.join("\n"), "produce", "logs-a", ...json);
    assert.match(sent.err, /^10 records, /);
    await runMillrace(endpoint, "b0\n", "produce", "logs-b");
    await runMillrace(endpoint, "o0\n", "produce", "other");

    assert.deepEqual(await values("logs-a", "--from", "3", "--to", "5"), ["a3", "a4"]);
    assert.deepEqual(await values("logs-a", "-o", "@8", "-e"), ["a8", "a9"]);
    assert.deepEqual(await values("logs-a", "--to", "-8"), ["a0", "a1"]);
    assert.deepEqual(await values("logs-a", "--from", "-3", "--to", "-1"), ["a7", "a8"]);
    const times = ["--from", "1700000002000ms", "--to", "2023-11-14T22:13:24Z"];
    assert.deepEqual(await values("logs-a", ...times), ["a2", "a3"]);
    // Nothing is that young, and nothing lies beyond the end.
    assert.deepEqual(await values("logs-a", "--from", "-1h", "--to", "latest"), []);
    assert.deepEqual(await values("logs-a", "--from", "9", "--to", "99"), ["a9"]);
    assert.deepEqual(await values("logs-a", "--from", "5", "--to", "5"), []);
    assert.deepEqual(await values("logs-a", "--to", "5", "-n", "2"), ["a0", "a1"]);

    assert.deepEqual((await values("logs-b", "other", "-e")).sort(), ["b0", "o0"]);
    assert.deepEqual((await values("logs-*", "--from", "-1", "-e")).sort(), ["a9", "b0"]);
    assert.deepEqual(await values("?ther", "-e", "-f", "%t:%v\\n"), ["other:o0"]);
    const none = await millrace("consume", "nope-*", "-e");
    assert.equal(none.code, 1);
    assert.match(none.err, /^error: UNKNOWN_TOPIC_OR_PARTITION: no topic matches nope-\*: see/);
    const early = await millrace("consume", "logs-a", "--to", "2999-01-01");
    assert.deepEqual([early.code, /--to is in the future/.test(early.err)], [2, true]);
    const odd = await millrace("consume", "logs-a", "-p", "7", "--to", "1");
    assert.match(odd.err, /topic logs-a has no partition 7: it has 1/);
    const far = await millrace("consume", "logs-a", "--from", "42", "-e");
    assert.match(far.err, /OFFSET_OUT_OF_RANGE: .* between 0 and 10: choose another --from\n$/);

    // What one prints the other takes.
    const printed = await millrace("consume", "logs-a", "-e", "-q", ...json);
    await runMillrace(endpoint, printed.out, "produce", "logs-b", ...json);
    const copied = await values("logs-b", "--from", "1", "-e", "-f", "%k %v %T\\n");
    assert.deepEqual([copied[0], copied.length], ["k a0 1700000000000", 10]);

    const names = await millrace("complete", "--", "topic", "describe", "lo");
    assert.deepEqual(lines(names.out), ["logs-a", "logs-b"]);
    assert.deepEqual(lines((await millrace("complete", "--", "consume", "o")).out), ["other"]);

    const half = await millrace("topic", "delete", "other", "nope");
    assert.match(half.err, /UNKNOWN_TOPIC_OR_PARTITION/);
    const gone = await millrace("topic", "delete", "logs-a", "other");
    assert.equal(gone.err, "deleted topic logs-a\ndeleted topic other\n");
    assert.match((await millrace("topic", "list")).out, /^NAME .*\nlogs-b /);
  });
});

test("waiting for new records is said once", { timeout: 60_000 }, async () => {
  await withServer(async (endpoint) => {
    await runMillrace(endpoint, "", "topic", "create", "t", "--partitions", "2");
    const latest = startMillrace(endpoint, "consume", "t");
    await until(() => latest.err().includes("\n"));
    assert.equal(latest.err(), "waiting for new records; --from earliest reads all\n");
    await runMillrace(endpoint, "one\ntwo\n", "produce", "t");
    await until(() => lines(latest.out()).length === 2);
    latest.child.kill("SIGTERM");
    assert.equal((await latest.ended).err, "waiting for new records; --from earliest reads all\n");
    const all = startMillrace(endpoint, "consume", "t", "--from", "earliest");
    await until(() => all.err().includes("\n"));
    assert.equal(all.err(), "the end is reached after 2 records: waiting for new records\n");
    await runMillrace(endpoint, "three\n", "produce", "t");
    await until(() => lines(all.out()).length === 3);
    all.child.kill("SIGTERM");
    const { err } = await all.ended;
    assert.equal(err, "the end is reached after 2 records: waiting for new records\n");
  });
});

test("the logs of a running server are not verified", { timeout: 60_000 }, async () => {
  await withServer(async (endpoint, server) => {
    const busy = await runMillrace(endpoint, "", "log", "verify", server.directory);
    assert.equal(busy.code, 1);
    assert.match(busy.err, /^error: DATA_DIRECTORY_LOCKED: .* is used by a server, .*: stop it/);
    await server.kill("SIGTERM");
    const done = await runMillrace(endpoint, "", "log", "verify", server.directory);
    assert.deepEqual([done.code, done.err], [0, ""]);
  });
});

test("a server that is lost is told within three seconds, and that it is back", {
  timeout: 120_000,
}, async () => {
  await withDirectory(async (directory) => {
    let server = new ServerProcess(directory);
    const { client: endpoint } = await server.ready();
    await runMillrace(endpoint, "", "topic", "create", "t");
    const consume = startMillrace(endpoint, "consume", "t", "--from", "earliest");
    const produce = startMillrace(endpoint, "produce", "t");
    try {
      produce.child.stdin?.write("before\n");
      await until(() => consume.out() === "before\n");
      await server.kill("SIGKILL");
      const lost = new RegExp(`^lost ${endpoint}: `, "m");
      for (const { err } of [produce, consume]) await within(3_000, () => lost.test(err()));
      produce.child.stdin?.write("meanwhile\n");
      await sleep(2_000);
      server = new ServerProcess(directory, ["--listen", endpoint]);
      await server.ready();
      const back = /^going on after \d+ s$/m;
      for (const { err } of [produce, consume]) await until(() => back.test(err()));
      await until(() => consume.out() === "before\nmeanwhile\n");
      produce.child.stdin?.end("after\n");
      assert.equal((await produce.ended).code, 0);
      await until(() => consume.out() === "before\nmeanwhile\nafter\n");
      // Nothing of how it is built.
      for (const { err } of [produce, consume]) assert.doesNotMatch(err(), /grpc|ECONN|http2/i);
    } finally {
      for (const { child } of [produce, consume]) child.kill("SIGKILL");
      await server.kill("SIGKILL");
    }
  });
});
