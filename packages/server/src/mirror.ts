/** The copy of the metadata that a process works from. */
import type { Env } from "@millrace/env";
import { keys, type MetadataStore, Mirror, type MirrorObserver } from "@millrace/metadata";
import type { Undo } from "./undo.ts";

/** Longest wait for the mirror to have read what the start wrote, ms. */
const mirrorTimeoutMs = 10_000;

export interface StartMirrorOptions {
  readonly env: Pick<Env, "clock" | "random" | "logger">;
  readonly store: MetadataStore;
  /** Nothing of another cluster's store is taken up. */
  readonly clusterId: string;
  readonly observer?: MirrorObserver | undefined;
}

/**
 * A mirror that has read the store, and follows it until the stop. Rejects with UNAVAILABLE when
 * the store does not answer, or is not the cluster's.
 */
export const startMirror = async (
  { env, observer, ...options }: StartMirrorOptions,
  undo: Undo,
): Promise<Mirror> => {
  const { clock, random, logger } = env;
  const observed = observer === undefined ? {} : { observer };
  const mirror = new Mirror({ ...options, ...observed, clock, random, logger });
  await mirror.start();
  undo.add(() => mirror.close());
  return mirror;
};

/** Resolves once the mirror has read what is in the store now, or after 10 s. */
export const catchUp = async (mirror: Mirror, store: MetadataStore): Promise<void> => {
  const { revision } = await store.range({ key: keys.cluster });
  await mirror.waitForRevision(revision, mirrorTimeoutMs);
};
