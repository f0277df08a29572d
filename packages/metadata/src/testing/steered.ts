/** A store whose connection the test cuts, and which it replaces by another one. */
import type { MetadataStore, WatchEvent, WatchHandlers } from "../api.ts";

/** A store whose watches the test can cut, whose events it can drop, and that can be replaced. */
export const steered = (first: MetadataStore) => {
  let inner = first;
  const live = new Set<() => void>();
  const state = { drop: (_event: WatchEvent): boolean => false, isDown: false };
  const watch: MetadataStore["watch"] = (range, from, handlers: WatchHandlers) => {
    let over = false;
    const handle = inner.watch(range, from, {
      onBatch: ({ events, revision }) => {
        const kept = events.filter((event) => !state.drop(event));
        if (!over) handlers.onBatch({ events: kept, revision });
      },
      onEnd: (end) => {
        if (!over) handlers.onEnd(end);
        over = true;
      },
    });
    const lose = (): void => {
      if (over) return;
      over = true;
      handle.cancel();
      handlers.onEnd({ reason: "lost", error: new Error("cut") });
    };
    live.add(lose);
    if (state.isDown) lose();
    return handle;
  };
  const store: MetadataStore = {
    range: (...args) => inner.range(...args),
    txn: (...args) => inner.txn(...args),
    watch,
    grantLease: (...args) => inner.grantLease(...args),
    keepAlive: (...args) => inner.keepAlive(...args),
    revokeLease: (...args) => inner.revokeLease(...args),
    compact: (...args) => inner.compact(...args),
    close: () => inner.close(),
  };
  const cut = (): void => {
    for (const lose of live) lose();
    live.clear();
  };
  /** Calls and new watches go to another store. */
  const redirect = (other: MetadataStore): void => {
    inner = other;
  };
  const replace = (other: MetadataStore): void => {
    redirect(other);
    cut();
  };
  return { store, state, cut, redirect, replace };
};
