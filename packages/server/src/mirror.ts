/** The copy of the metadata that a process works from. */
import type { Env } from "@millrace/env";
import { keys, type MetadataStore, Mirror } from "@millrace/metadata";
import type { Undo } from "./undo.ts";

/** Longest wait for the mirror to have read what the start wrote, ms. */
const mirrorTimeoutMs = 10_000;

/** A mirror that has read the store, and follows it until the stop. */
export const startMirror = async (
  { clock, random, logger }: Pick<Env, "clock" | "random" | "logger">,
  store: MetadataStore,
  undo: Undo,
): Promise<Mirror> => {
  const mirror = new Mirror({ store, clock, random, logger });
  await mirror.start();
  undo.add(() => mirror.close());
  return mirror;
};

/** Resolves once the mirror has read what is in the store now, or after 10 s. */
export const catchUp = async (mirror: Mirror, store: MetadataStore): Promise<void> => {
  const { revision } = await store.range({ key: keys.cluster });
  await mirror.waitForRevision(revision, mirrorTimeoutMs);
};
