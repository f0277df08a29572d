/**
 * The embedded store and etcd, given the same random commands through connections that are cut,
 * stalled and delayed, give the same answers, revisions and events.
 *
 * `MILLRACE_ETCD_SEED` repeats the choices of a run (what a broken connection does to a command is
 * up to the machine), `MILLRACE_ETCD_COMMANDS` makes it longer or shorter.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { EmbeddedStore, Mirror } from "@millrace/metadata";
import { openEtcdStore } from "@millrace/metadata/etcd";
import { SeededRandom } from "@millrace/sim";
import { Commands } from "./commands.ts";
import { Etcd, skipped } from "./etcd.ts";
import { FaultyLink } from "./faulty-link.ts";
import { Pair, Recorder } from "./pair.ts";

const seed = Number(process.env["MILLRACE_ETCD_SEED"] ?? 1 + Math.floor(Math.random() * 1e6));
const commands = Number(process.env["MILLRACE_ETCD_COMMANDS"] ?? 10_000);
/** Commands between two changes of the weather. */
const window = 200;

type Weather = "calm" | "delays" | "cuts" | "stalls";

/** What happens to the connections during one command. */
const disturb = (weather: Weather, links: readonly FaultyLink[], random: SeededRandom): void => {
  const link = links[random.below(links.length)];
  for (const one of links) {
    one.delayMs = weather === "delays" && random.chance(0.2) ? () => random.float() * 4 : () => 0;
  }
  if (weather === "cuts" && random.chance(0.15)) {
    setTimeout(() => link?.cut(), random.float() * 2);
  }
  if (weather === "stalls" && random.chance(0.03)) {
    const direction = random.chance(0.5) ? "up" : "down";
    for (const one of random.chance(0.5) ? links : [link]) {
      one?.stall(direction, 50 + random.float() * 300);
    }
  }
};

test(`10,000 commands, seed ${seed}: etcd and the embedded store do the same`, {
  skip: skipped,
  timeout: 280_000,
}, async (context) => {
  const etcd = await Etcd.start();
  const links = [await FaultyLink.start(etcd.clientPort), await FaultyLink.start(etcd.clientPort)];
  const [clock, random] = [nodeClock(), new SeededRandom(seed)];
  const embedded = new EmbeddedStore({ clock, random: nodeRandom() });
  const store = openEtcdStore({
    ...{ clock, random: nodeRandom(), logger: silentLogger, root: "/millrace/differential/" },
    endpoints: links.map(({ endpoint }) => endpoint),
    watchSilenceMs: 300,
  });
  context.after(async () => {
    await store.close();
    await embedded.close();
    for (const link of links) await link.close();
    await etcd.remove();
  });
  const pair = new Pair(embedded, store, 400);
  await pair.open();
  const from = (await pair.known()).revision + 1;
  const here = new Recorder(embedded, { prefix: "" }, from, 0);
  const there = new Recorder(store, { prefix: "" }, from, pair.offset);
  const shared = { clock, random: nodeRandom(), logger: silentLogger, relistIntervalMs: 500 };
  const mirror = new Mirror({ ...shared, store });
  await mirror.start();
  context.after(() => {
    mirror.close();
    here.stop();
    there.stop();
  });
  const generator = new Commands(random);
  const wind = new SeededRandom(seed ^ 0x5bd1e995);
  let weather: Weather = "calm";
  for (let i = 0; i < commands; i += 1) {
    if (i % window === 0) {
      const weathers = ["calm", "calm", "delays", "cuts", "stalls"] as const;
      weather = weathers[random.below(weathers.length)] ?? "calm";
      if (weather === "calm" || weather === "delays") {
        // What the last weather has left would otherwise reach into this one.
        await clock.sleep(400);
        await store.range({ prefix: "" }, { timeoutMs: 10_000 });
      }
    }
    const calm = weather === "calm" || weather === "delays";
    disturb(weather, links, wind);
    const known = await pair.known();
    const command = generator.next(known, calm);
    // A watch that a compaction overtakes would end.
    if (command.kind === "compact") {
      for (const recorder of [here, there]) await pair.reach(recorder, known.revision);
      await pair.watched();
    }
    await pair.run(command, calm);
  }
  for (const link of links) link.delayMs = () => 0;
  const { revision } = await pair.known();
  await pair.watched();
  for (const recorder of [here, there]) await pair.reach(recorder, revision);
  assert.deepEqual([here.end, there.end], [undefined, undefined]);
  assert.equal(there.events.length, here.events.length);
  for (const [i, event] of here.events.entries()) assert.deepEqual(there.events[i], event);
  const { kvs } = await store.range({ prefix: "" });
  assert.ok(await mirror.waitForRevision(revision + pair.offset, 10_000));
  assert.deepEqual(mirror.entries(""), kvs);
  assert.deepEqual([mirror.missed, mirror.resets], [0, 0]);
  const { happened, voided } = pair.unknown;
  context.diagnostic(
    `seed ${seed}: revision ${revision}, ${here.events.length} events; the watch was resumed ` +
      `${there.resumed} times; of ${happened + voided} unknown outcomes ${happened} had happened; ` +
      `${mirror.listings} listings of the mirror`,
  );
  if (commands >= 10_000) {
    assert.ok(there.resumed > 0 && voided > 0 && happened > 0, "the weather was too good");
  }
});
