/** What every boot of a process takes beside what it is made of. */
import type { Addresses, BoundEndpoints, Listeners } from "./listen.ts";

export interface ProcessOptions {
  readonly listeners: Listeners;
  /** The addresses that others are told, from those that the listeners are bound to. */
  readonly advertise: (bound: BoundEndpoints) => Addresses;
  /** Told when everything is served, and when it ends. */
  readonly onServing?: (serving: boolean) => void;
  /** Told what the start waits for, for people. */
  readonly onWaiting?: (reason: string) => void;
  /** Ends a start that waits. The boot rejects with its reason. */
  readonly signal?: AbortSignal;
}
