/**
 * `node bench/profile.ts FILE.cpuprofile [ROWS]`: self time by function of a profile that Node
 * wrote (`--cpu-prof`), as a Markdown table. Idle time is left out of the shares.
 */
import { readFileSync } from "node:fs";

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const [file, rows = "25"] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: profile.ts FILE.cpuprofile [ROWS]");
  process.exit(2);
}
const profile: Profile = JSON.parse(readFileSync(file, "utf8"));
const names = new Map<number, string>();
for (const { id, callFrame } of profile.nodes) {
  const place = callFrame.url.split("/").slice(-3).join("/");
  names.set(
    id,
    `${callFrame.functionName || "(anonymous)"}${place === "" ? "" : ` ${place}:${callFrame.lineNumber + 1}`}`,
  );
}
const selfUs = new Map<string, number>();
let busyUs = 0;
for (const [i, id] of profile.samples.entries()) {
  const name = names.get(id) ?? "?";
  if (name === "(idle)") continue;
  const us = profile.timeDeltas[i] ?? 0;
  selfUs.set(name, (selfUs.get(name) ?? 0) + us);
  busyUs += us;
}
console.log(`${(busyUs / 1e6).toFixed(2)} s busy\n\n| share | ms | function |\n|---|---|---|`);
const sorted = [...selfUs].sort((a, b) => b[1] - a[1]).slice(0, Number(rows));
for (const [name, us] of sorted) {
  console.log(`| ${((us / busyUs) * 100).toFixed(1)} % | ${(us / 1000).toFixed(0)} | ${name} |`);
}
