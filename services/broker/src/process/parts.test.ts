import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { stopBroker } from "./parts.ts";

test("a broker registers for the last time while it can still lead, and then stops", async () => {
  const steps: string[] = [];
  const step = async (name: string): Promise<void> => void steps.push(name);
  await stopBroker(
    {
      broker: { handOver: async (announce) => announce().then(() => step("handed over")) },
      registration: {
        update: (fields) => step(`told ${JSON.stringify(fields)}`),
        makeLast: () => void step("not again"),
      },
      logger: silentLogger,
    },
    { run: () => step("stopped") },
  );
  assert.deepEqual(steps, ['told {"shuttingDown":true}', "handed over", "not again", "stopped"]);
});
