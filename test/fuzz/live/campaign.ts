/** Inputs to every method of a live server, many at a time. An input is its seed and number. */
import type { DescMethod } from "@bufbuild/protobuf";
import { SeededRandom } from "@millrace/sim";
import { withDirectory } from "../../integration/server.ts";
import { mutate } from "../mutate.ts";
import type { Finding } from "../run.ts";
import {
  Connections,
  type Input,
  methods,
  type Outcome,
  pathOf,
  send,
  services,
  wrongWith,
} from "./calls.ts";
import { Grammar, type Manners, type Vocabulary } from "./grammar.ts";
import { LiveServer, servedServices } from "./server.ts";

export const liveName = "live server";

const connections = 4;
const concurrent = 192;
/** Inputs between two looks at the server. */
const sliceInputs = 2_500;
/** The process itself and what its limits add up to, with small settings. */
const rssMibMax = 512;

export interface LiveCounts {
  inputs: number;
  /** Ends of calls by method. */
  readonly ends: Map<string, Map<string, number>>;
  rssMib: number;
}

export interface LiveOptions {
  readonly seed: number;
  readonly goOn: (inputs: number) => boolean;
  /** Only this input. */
  readonly input?: number | undefined;
  readonly findingsMax?: number;
}

const noise = (dice: SeededRandom): Uint8Array => dice.bytes(dice.pick([0, 1, 5, 30, 300]));

type Kind = "noise" | "mutated" | "polite" | "rude";
const kinds: readonly Kind[] = [
  ...(["noise", "mutated", "mutated", "polite", "polite", "polite", "rude", "rude"] as const),
];

const messageOf = (
  { input }: DescMethod,
  kind: Kind,
  words: Vocabulary,
  dice: SeededRandom,
  first: boolean,
): Uint8Array => {
  if (kind === "noise") return noise(dice);
  const made = (manners: Manners): Buffer =>
    Buffer.from(new Grammar(dice, words, manners).message(input, first));
  return kind === "mutated" ? mutate(made("polite"), made("polite"), dice) : made(kind);
};

/** The input of a number. */
export const inputOf = (seed: number, number: number, words: Vocabulary): Input => {
  const dice = new SeededRandom((seed * 104_729 + number) | 0);
  const method = dice.pick(methods);
  const streamed =
    method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming";
  const count = streamed ? dice.between(1, 5) : dice.chance(0.01) ? dice.pick([0, 2]) : 1;
  // A stream begins well more often than it ends well.
  const kind = dice.pick(kinds);
  const messages = Array.from({ length: count }, (_, i) => {
    const chosen = streamed && i === 0 && dice.chance(0.7) ? "polite" : kind;
    return messageOf(method, chosen, words, dice, i === 0);
  });
  return {
    method,
    messages,
    // Watches stay open for as long as they may.
    timeoutMs: dice.pick(method.methodKind === "server_streaming" ? [1, 20, 50] : [1, 100, 400]),
    resetAfterMs: dice.chance(0.1) ? dice.below(60) : undefined,
  };
};

class Campaign {
  readonly counts: LiveCounts = { inputs: 0, ends: new Map(), rssMib: 0 };
  readonly findings: Finding[] = [];
  readonly #options: LiveOptions;
  readonly #server: LiveServer;
  readonly #connections: Connections;
  #next: number;

  constructor(options: LiveOptions, server: LiveServer) {
    this.#options = options;
    this.#server = server;
    this.#connections = new Connections(server.address, connections);
    this.#next = options.input ?? 0;
  }

  async run(): Promise<void> {
    const { goOn, input, findingsMax = 1 } = this.#options;
    const inputs = input === undefined ? sliceInputs : 1;
    while (goOn(this.counts.inputs) && this.findings.length < findingsMax) {
      const first = this.#next;
      const end = first + inputs;
      await Promise.all(Array.from({ length: concurrent }, () => this.#work(end)));
      if (!(await this.#look(`inputs ${first} to ${end - 1}`)) || input !== undefined) break;
    }
    if (this.findings.length > 0 && this.#server.crash === undefined)
      this.found("what the limits refused", await this.#server.refusals());
    this.counts.rssMib = this.#server.crash === undefined ? this.#server.rssMib : 0;
    if (this.counts.rssMib > rssMibMax) this.found("memory", `RSS is ${this.counts.rssMib} MiB`);
    this.#connections.close();
  }

  found(input: string, error: string): void {
    this.findings.push({ target: liveName, input, error });
  }

  async #work(end: number): Promise<void> {
    while (this.#next < end && this.#server.crash === undefined) {
      const number = this.#next;
      this.#next += 1;
      const input = inputOf(this.#options.seed, number, this.#server.words);
      const connection = this.#connections.get(input.resetAfterMs !== undefined);
      const outcome = await send(connection, input);
      this.#count(input.method, outcome);
      const wrong = wrongWith(outcome);
      if (wrong === undefined || this.#server.crash !== undefined) continue;
      const hex = input.messages.map((bytes) => Buffer.from(bytes).toString("hex").slice(0, 4_000));
      const replay = `--seed ${this.#options.seed} --target live --input ${number}`;
      this.found([replay, pathOf(input.method), ...hex].join("\n"), wrong);
    }
  }

  /** Whether the server lives and serves. */
  async #look(inputs: string): Promise<boolean> {
    const { crash } = this.#server;
    try {
      if (crash !== undefined) throw new Error(`the server died: ${JSON.stringify(crash)}`);
      await this.#server.behave();
      await this.#server.tidy();
      return true;
    } catch (thrown) {
      const error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      this.found(`--seed ${this.#options.seed} --target live, ${inputs}`, error);
      return false;
    }
  }

  #count({ name }: DescMethod, { end, errors }: Outcome): void {
    this.counts.inputs += 1;
    const ends = this.counts.ends.get(name) ?? new Map<string, number>();
    this.counts.ends.set(name, ends);
    const kind = end.replace(/^((status|reset) [0-9]+|closed|open) .*/s, "$1");
    ends.set(kind, (ends.get(kind) ?? 0) + 1);
    if (errors.length > 0) ends.set("errors inside", (ends.get("errors inside") ?? 0) + 1);
  }
}

/** Starts a server, sends inputs until told to stop, and stops it. */
export const fuzzLive = async (
  options: LiveOptions,
): Promise<{ counts: LiveCounts; findings: readonly Finding[] }> => {
  const ref: { campaign?: Campaign } = {};
  await withDirectory(async (directory) => {
    const server = await LiveServer.start(directory);
    try {
      const campaign = new Campaign(options, server);
      ref.campaign = campaign;
      const fuzzed = new Set(services.map(({ typeName }) => typeName));
      for (const name of await servedServices(server.address)) {
        if (!fuzzed.has(name)) campaign.found("reflection", `${name} is served and not fuzzed`);
        fuzzed.delete(name);
      }
      if (fuzzed.size > 0) campaign.found("reflection", `not served: ${[...fuzzed].join()}`);
      await campaign.run();
      if (server.crash !== undefined) return;
      for (const wrong of await server.stop()) campaign.found("after SIGTERM", wrong);
    } finally {
      await server.kill();
    }
  });
  if (ref.campaign === undefined) throw new Error("the server did not start");
  return ref.campaign;
};

/** Counts as lines of text. */
export const liveSummary = ({ inputs, ends, rssMib }: LiveCounts): string => {
  const lines = [...ends].map(([method, kinds]) => {
    const parts = [...kinds].sort(([, a], [, b]) => b - a).map(([end, n]) => `${end} ×${n}`);
    return `  ${method}: ${parts.join(", ")}`;
  });
  return [`${liveName}: ${inputs} inputs, RSS ${rssMib.toFixed(0)} MiB`, ...lines.sort()].join(
    "\n",
  );
};
