/**
 * Many hostile clients in one process: each picks attacks by its seed until the time is over.
 * Prints counts as JSON.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { SeededRandom } from "@millrace/sim";
import { attacks } from "./attacks.ts";
import type { Target } from "./wire.ts";

const { values } = parseArgs({
  options: {
    endpoint: { type: "string", default: "" },
    topic: { type: "string", default: "t" },
    clients: { type: "string", default: "100" },
    seconds: { type: "string", default: "10" },
    seed: { type: "string", default: "1" },
  },
});

/** A client starts an attack about so often, milliseconds. */
const paceMs = 2000;
const [host = "", port] = values.endpoint.split(":");
const target: Target = { host, port: Number(port), topic: values.topic, patienceMs: 45_000 };
const endMs = performance.now() + Number(values.seconds) * 1000;
const counts = new Map<string, Map<string, number>>();

const client = async (number: number): Promise<void> => {
  const dice = new SeededRandom(Number(values.seed) * 1000 + number);
  await sleep(dice.below(paceMs));
  while (performance.now() < endMs) {
    // In turn from its own place, so that every kind comes up in any run.
    for (let i = number; i < number + attacks.length && performance.now() < endMs; i += 1) {
      const attack = attacks[i % attacks.length];
      if (attack === undefined) continue;
      const outcome = await attack.run(target, dice).catch((thrown) => `failed: ${thrown}`);
      const outcomes = counts.get(attack.name) ?? new Map<string, number>();
      counts.set(attack.name, outcomes);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      await sleep(paceMs / 2 + dice.below(paceMs));
    }
  }
};

await Promise.race([
  Promise.all(Array.from({ length: Number(values.clients) }, (_, i) => client(i))),
  sleep(Number(values.seconds) * 1000 + 2000),
]);
console.log(
  JSON.stringify(
    Object.fromEntries([...counts].map(([name, outcomes]) => [name, Object.fromEntries(outcomes)])),
  ),
);
process.exit(0);
