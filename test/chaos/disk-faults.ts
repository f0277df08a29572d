/** What happens to the data directory of a broker while the broker is down. */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeDisk } from "@millrace/env/node";
import { verifyDirectory } from "@millrace/log";
import { nodeCompressor } from "@millrace/record/node";
import type { Tell } from "./clients.ts";
import type { ChaosCluster } from "./cluster.ts";
import { type Fault, itemAt } from "./fault.ts";
import type { DiskKind, Step } from "./plan.ts";

/** Longest wait for the cluster to be whole with a bit that nobody has noticed, ms. */
const wholeMs = 30_000;

/** Directories of partitions, as paths. */
export const partitionsIn = (dataDirectory: string): string[] => {
  const partitions = join(dataDirectory, "partitions");
  const names = readdirSync(partitions).filter((name) => /^[0-9a-f]{32}-\d+$/.test(name));
  return names.toSorted().map((name) => join(partitions, name));
};

/** Flips one bit of a partition's files, by a fraction. Returns where, for people. */
export const flipBit = (dataDirectory: string, pick: number): string => {
  const files = partitionsIn(dataDirectory).flatMap((directory) =>
    readdirSync(directory).map((name) => join(directory, name)),
  );
  const all = files.map((file) => statSync(file).size);
  // Every file as often as any other: most of them are small.
  const filled = files.filter((_, i) => (all[i] ?? 0) > 0);
  const file = itemAt(filled, pick);
  const content = readFileSync(file);
  const within = (pick * filled.length) % 1;
  const position = Math.floor(within * content.length);
  const bit = Math.floor(within * content.length * 8) % 8;
  content.writeUInt8(content.readUInt8(position) ^ (1 << bit), position);
  writeFileSync(file, content);
  return `bit ${bit} of byte ${position} of ${content.length} of ${file}`;
};

/** Directories of the partitions in which `log verify` finds damage. */
const damagedIn = async (dataDirectory: string): Promise<string[]> => {
  const { damages } = await verifyDirectory(nodeDisk(dataDirectory), nodeCompressor);
  const paths = damages.map(({ path }) => join(dataDirectory, path));
  return partitionsIn(dataDirectory).filter((directory) =>
    paths.some((path) => path.startsWith(directory)),
  );
};

const remove = (path: string): void => rmSync(path, { recursive: true });

/** Removes everything in a directory; it may be where a disk is mounted. */
export const emptyDirectory = (directory: string): void => {
  for (const name of readdirSync(directory)) remove(join(directory, name));
};

/** What a step does to the broker `name`. */
export const diskFaultOf = (
  cluster: ChaosCluster,
  { isSilent, kind, other }: Step & { readonly kind: DiskKind },
  name: string,
  tell: Tell,
): Fault => {
  const directory = cluster.directoryOf(name);
  const note = (text: string): void => tell({ kind: "note", text });
  /** As with a machine that dies, or is stopped, and then is looked after. */
  const whileDown = async (
    change: () => void | Promise<void>,
    isStopped = false,
  ): Promise<void> => {
    if (isStopped) await cluster.act("stop", name);
    else await cluster.killForNow(name);
    try {
      await change();
    } finally {
      await cluster.act("start", name);
    }
  };
  switch (kind) {
    case "lose disk":
      return { target: name, begin: () => whileDown(() => emptyDirectory(directory)) };
    case "remove replica": {
      const partition = itemAt(partitionsIn(directory), other);
      return { target: partition, begin: () => whileDown(() => remove(partition)) };
    }
    case "flip bit":
      return {
        target: name,
        begin: async () => {
          // After a kill the journal may mend it; after a clean stop nobody looks at the start.
          await whileDown(() => note(`flipped: ${flipBit(directory, other)}`), isSilent);
          const missing = await cluster.untilWhole(wholeMs);
          note(missing === undefined ? "whole with the bit" : `not whole with the bit: ${missing}`);
          await whileDown(async () => {
            const damaged = await damagedIn(directory);
            note(`log verify finds damage in ${damaged.join(", ") || "nothing"}`);
            damaged.forEach(remove);
          });
        },
      };
  }
};
