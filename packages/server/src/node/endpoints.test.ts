import assert from "node:assert/strict";
import { linkSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeEndpoints } from "./endpoints.ts";

test("the endpoints of the last start are replaced as a whole", () => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-endpoints-"));
  try {
    const path = join(directory, "endpoints.json");
    writeEndpoints(directory, { client: "127.0.0.1:1" });
    // A file that is written over shows it under its other name.
    linkSync(path, join(directory, "before"));
    writeEndpoints(directory, { client: "127.0.0.1:2" });
    const contents = ["before", "endpoints.json"].map((name) =>
      JSON.parse(readFileSync(join(directory, name), "utf8")),
    );
    assert.deepEqual(contents, [{ client: "127.0.0.1:1" }, { client: "127.0.0.1:2" }]);
    assert.deepEqual(readdirSync(directory).sort(), ["before", "endpoints.json"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
