/** `millrace get` against a real server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runMillrace, withServer } from "./command.ts";

test("the latest record of a key, of keys with a prefix, and of none", {
  timeout: 120_000,
}, async () => {
  await withServer(async (endpoint) => {
    const millrace = async (...argv: string[]) => {
      const { code, err, out } = await runMillrace(endpoint, "", ...argv);
      return [code, code === 0 ? out : err];
    };
    const produce = (input: string, ...argv: string[]) =>
      runMillrace(endpoint, input, "produce", "users", ...argv);
    const compact = ["--config", "cleanup.policy=compact"];
    await millrace("topic", "create", "users", "--partitions", "2", ...compact);
    await millrace("topic", "create", "logs");
    await produce("a1:x\na2:y\nb:z\na1:w\n", "--key-separator", ":");
    assert.deepEqual(await millrace("get", "users", "a1"), [0, "w\n"]);
    assert.deepEqual(await millrace("get", "users", "a2", "-f", "%t %k %v\\n"), [
      0,
      "users a2 y\n",
    ]);
    const [code, json] = await millrace("get", "users", "b", "--format", "json");
    const { key, topic, value } = JSON.parse(String(json));
    assert.deepEqual([code, key, topic, value], [0, "b", "users", "z"]);
    const [, listed] = await millrace("get", "users", "--prefix", "a");
    assert.deepEqual(String(listed).split("\n").sort(), ["", "a1\tw", "a2\ty"]);
    const [, all] = await millrace("get", "users", "--prefix", "", "--format", "%k\\n");
    assert.deepEqual(String(all).split("\n").sort(), ["", "a1", "a2", "b"]);
    assert.deepEqual(await millrace("get", "users", "--prefix", "x"), [0, ""]);

    const missing = "error: KEY_NOT_FOUND: key";
    const hint = "check the key, or list keys with --prefix\n";
    assert.deepEqual(await millrace("get", "users", "nobody"), [
      ...[1, `${missing} "nobody" of topic users has no record: ${hint}`],
    ]);
    await produce("-\n", "--key", "b", "--null-value", "-");
    const [, deleted] = await millrace("get", "users", "b");
    assert.match(
      String(deleted),
      /KEY_NOT_FOUND: key "b" of topic users was deleted at offset \d+/,
    );
    assert.match(String((await millrace("get", "logs", "a"))[1]), /POLICY_VIOLATION: .*compact\n$/);
    for (const wrong of [["users"], ["users", "a", "--prefix", "a"]]) {
      const [usage, text] = await millrace("get", ...wrong);
      assert.deepEqual([usage, /give a KEY, or --prefix/.test(String(text))], [2, true]);
    }
    const keyless = await produce("hello\n");
    assert.deepEqual(keyless.code, 1);
    assert.match(keyless.err, /INVALID_RECORD: record 0 of the batch has no key/);
  });
});
