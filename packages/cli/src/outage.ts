/** Says what holds a command up: a server that is lost, for how long, and that it goes on. */
import type { ConsumerState, GroupConsumerState, ProducerState } from "@millrace/client";
import { type Io, styled } from "./io.ts";
import { timeLeftText } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** Time between two lines where nothing can be written in place, milliseconds. */
const repeatMs = 10_000;

export class Outage {
  readonly #io: Io;
  readonly #terminal: Terminal;
  readonly #isQuiet: boolean;
  readonly #nowMs: () => number;
  /** Why it waits, and since when; undefined while it does not. */
  #waiting: { readonly why: string; readonly sinceMs: number } | undefined;
  #told = false;
  #toldMs = 0;

  constructor(
    io: Io,
    terminal: Terminal,
    isQuiet: boolean,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#io = io;
    this.#terminal = terminal;
    this.#isQuiet = isQuiet;
    this.#nowMs = nowMs;
  }

  /** What the status line says of it; "" while nothing is held up. */
  status(): string {
    const waiting = this.#waiting;
    if (waiting === undefined) return "";
    const text = `waiting for ${this.#for(waiting.sinceMs)}: ${waiting.why}`;
    if (!this.#terminal.hasStatus || text.length < this.#io.columns()) return text;
    // What to do stood in the line that told of it.
    const [what = ""] = waiting.why.split(": ", 1);
    return `waiting for ${this.#for(waiting.sinceMs)}: ${what}`;
  }

  /** For `onState` of a producer or consumer. */
  readonly onState = (state: ConsumerState | ProducerState): void => {
    if (this.#isQuiet) return;
    if (state.type === "connection_lost") {
      this.#told = true;
      this.#toldMs = this.#nowMs();
      const { error, server } = state;
      this.#line("yellow", `lost ${server}: ${error.message.replace(`${server} `, "it ")}`);
    } else if (state.type === "waiting") this.#wait(state.waitedMs, state.error.message);
    else if (state.type === "resumed") this.#goOn(state.waitedMs);
  };

  /** For `onState` of a consumer in a group. */
  readonly onGroupState = (state: GroupConsumerState): void => {
    if (state.type === "group_left") this.#line("yellow", state.error.message);
    else if (state.type === "processing_slow") {
      const left = timeLeftText(state.leavesInMs / 1000);
      this.#line("yellow", `the output is not read: leaving the group in ${left}`);
    } else this.onState(state);
  };

  #wait(waitedMs: number, why: string): void {
    const nowMs = this.#nowMs();
    this.#waiting = { why, sinceMs: nowMs - waitedMs };
    if (this.#told && (this.#terminal.hasStatus || nowMs - this.#toldMs < repeatMs)) return;
    this.#told = true;
    this.#toldMs = nowMs;
    this.#line("yellow", this.status());
  }

  #goOn(waitedMs: number): void {
    this.#waiting = undefined;
    if (!this.#told) return;
    this.#told = false;
    this.#line("bold", `going on after ${timeLeftText(waitedMs / 1000)}`);
  }

  #for(sinceMs: number): string {
    return timeLeftText((this.#nowMs() - sinceMs) / 1000);
  }

  #line(style: "bold" | "yellow", text: string): void {
    void this.#terminal.line(styled(this.#io, "stderr", style, text));
  }
}
