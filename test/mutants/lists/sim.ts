/** Mutants of the simulator: its kernel and its network, the carrier over it, and the boot. */
import type { Mutant } from "../mutant.ts";

const kernel = "packages/sim/src/kernel.ts";
const kernelTests = ["packages/sim/src/kernel.test.ts"];
const network = "packages/sim/src/network/";
const deadTests = [`${network}dead.test.ts`];
const faultTests = [`${network}faults.test.ts`];
const local = "packages/rpc/src/local/";
const localTests = [`${local}local.test.ts`];
const apartTests = ["packages/sim/src/node/apart.test.ts"];
const boot = "services/standalone/src/boot/";
const bootTests = [`${boot}boot.test.ts`];

const kernels: readonly Mutant[] = [
  {
    name: "sim-apart-lost-errors",
    breaks: "What is thrown in the thread of a test is thrown in the test.",
    file: "packages/sim/src/node/apart.ts",
    replace: [
      [
        'if ("error" in answer) waiting?.reject(answer.error);',
        'if ("never" in answer) waiting?.reject(answer);',
      ],
    ],
    tests: apartTests,
  },
  {
    name: "sim-apart-waits-for-the-dead",
    breaks: "A test whose thread has ended fails, and does not wait.",
    file: "packages/sim/src/node/apart.ts",
    replace: [["for (const { reject } of this.#waiting.values()) reject(error);", ""]],
    tests: apartTests,
  },
  {
    name: "sim-apart-asks-the-dead",
    breaks: "A thread that has ended is not asked.",
    file: "packages/sim/src/node/apart.ts",
    replace: [["if (this.#failed !== undefined) throw this.#failed;", ""]],
    tests: apartTests,
  },
  {
    name: "sim-writes-take-a-copy",
    breaks: "A write takes what its memory holds while it is under way.",
    file: "packages/sim/src/disk.ts",
    replace: [["writeNow(chunks, position)", "writeNow([Buffer.concat(chunks)], position)"]],
    tests: ["packages/sim/src/disk.test.ts"],
  },
  {
    name: "sim-events-untraced",
    breaks: "Every event is in the trace.",
    file: kernel,
    replace: [["      this.#trace.add(this.events, event.atMs, event.what);\n", ""]],
    tests: kernelTests,
  },
  {
    name: "sim-names-not-hashed",
    breaks: "The hash covers what an event is.",
    file: "packages/sim/src/trace.ts",
    replace: [["i < what.length; i += 1", "i < 0; i += 1"]],
    tests: kernelTests,
  },
  {
    name: "sim-times-not-hashed",
    breaks: "The hash covers the time of an event to its last bit.",
    file: "packages/sim/src/trace.ts",
    replace: [["    number[0] = atMs;", "    number[0] = Math.round(atMs);"]],
    tests: kernelTests,
  },
  {
    name: "sim-broken-promise-unheard",
    breaks: "A run in which an always does not hold fails.",
    file: "packages/sim/src/marks.ts",
    replace: [["    this.#broken ??= name;\n", ""]],
    tests: kernelTests,
  },
  {
    name: "sim-broken-promise-told-late",
    breaks: "A broken promise ends the run at its step.",
    file: kernel,
    replace: [
      [
        "      await turn();\n      this.#checkPromises();\n      return;",
        "      await turn();\n      return;",
      ],
    ],
    tests: kernelTests,
  },
  {
    name: "sim-marks-uncounted",
    breaks: "Marks are counted.",
    file: "packages/sim/src/marks.ts",
    replace: [["(this.#reached.get(name) ?? 0) + 1", "1"]],
    tests: kernelTests,
  },
  {
    name: "sim-buggify-everywhere",
    breaks: "A place of buggify is chosen in a quarter of the runs.",
    file: "packages/sim/src/marks.ts",
    replace: [["if (!site.chosen || !site", "if (!site"]],
    tests: kernelTests,
  },
  {
    name: "sim-buggify-shares-chance",
    breaks: "A place of buggify does not depend on other places.",
    file: "packages/sim/src/marks.ts",
    replace: [
      ["let site = this.#sites.get(name);", 'let site = this.#sites.get("");'],
      ["this.#sites.set(name, site);", 'this.#sites.set("", site);'],
    ],
    tests: kernelTests,
  },
  {
    name: "sim-pause-lets-timers-run",
    breaks: "The timers of a paused process stand still.",
    file: kernel,
    replace: [["if (this.#paused || this.#backlog.length > 0)", "if (this.#backlog.length > 0)"]],
    tests: kernelTests,
  },
  {
    name: "sim-resume-out-of-order",
    breaks: "What came during a pause happens before what comes after it.",
    file: kernel,
    replace: [["if (this.#paused || this.#backlog.length > 0)", "if (this.#paused)"]],
    tests: kernelTests,
  },
  {
    name: "sim-cancelled-during-a-pause",
    breaks: "A timer that is cancelled during a pause never runs.",
    file: kernel,
    replace: [["      if (!cancelled) run();", "      run();"]],
    tests: kernelTests,
  },
  {
    name: "sim-second-pause-ignored",
    breaks: "A pause also stops the catching up after another one.",
    file: kernel,
    replace: [["        if (this.#paused) return;\n", ""]],
    tests: kernelTests,
  },
  {
    name: "sim-killed-process-runs",
    breaks: "Nothing of a killed process runs.",
    file: kernel,
    replace: [
      [
        "    if (!this.#alive) return;\n    if (this.#paused || this",
        "    if (this.#paused || this",
      ],
    ],
    tests: [...kernelTests, ...deadTests],
  },
];

const dead: readonly Mutant[] = [
  {
    name: "zombie-sends",
    breaks: "A killed process sends nothing on the connections that it had.",
    file: `${network}connection.ts`,
    replace: [["      this.#end();\n      if (host.isUp)", "      if (host.isUp)"]],
    tests: deadTests,
  },
  {
    name: "zombie-dials",
    breaks: "A killed process makes no connection.",
    file: `${network}network.ts`,
    replace: [
      [
        "process.alive ? this.#connect(process, host, endpoint, handlers) : deadSocket",
        "this.#connect(process, host, endpoint, handlers)",
      ],
    ],
    tests: deadTests,
  },
  {
    name: "zombie-listens",
    breaks: "A killed process cannot listen.",
    file: `${local}index.ts`,
    replace: [["transport.alive ? new LocalServer", "transport.host ? new LocalServer"]],
    tests: deadTests,
  },
  {
    name: "zombie-stops-its-server",
    breaks: "A killed process does not get to the end of a shutdown.",
    file: `${local}server.ts`,
    replace: [["    if (!this.#transport.alive) return forever();\n", ""]],
    tests: deadTests,
  },
  {
    name: "zombie-reads",
    breaks: "The streams of a killed process deliver nothing, also of what had arrived.",
    file: `${local}end.ts`,
    replace: [["    if (!this.#options.isAlive()) return undefined;\n", ""]],
    tests: deadTests,
  },
  {
    name: "zombie-waits-for-room-in-vain",
    breaks: "The streams of a killed process take nothing, and never have room.",
    file: `${local}end.ts`,
    replace: [
      ["this.#options.isAlive() ? this.#queue.drained() : forever()", "this.#queue.drained()"],
    ],
    tests: deadTests,
  },
  {
    name: "zombie-writes",
    breaks: "The streams of a killed process take no message.",
    file: `${local}end.ts`,
    replace: [
      [
        "if (!this.#queue.open || !this.#options.isAlive()) return false;",
        "if (!this.#queue.open) return false;",
      ],
    ],
    tests: deadTests,
  },
  {
    name: "zombie-keeps-its-port",
    breaks: "The port of a killed process is free.",
    file: `${network}network.ts`,
    replace: [["listening.process.whenKilled(close)", "listening.process.whenKilled(() => {})"]],
    tests: deadTests,
  },
  {
    name: "zombie-reaches-the-store",
    breaks: "A killed process reaches no store.",
    file: "packages/sim/src/store.ts",
    replace: [["      if (!process.alive) return;\n      ask()", "      ask()"]],
    tests: deadTests,
  },
  {
    name: "zombie-watches-the-store",
    breaks: "The watches of a killed process are silent.",
    file: "packages/sim/src/store.ts",
    replace: [
      [
        "onBatch: (batch) => process.run(() => handlers.onBatch(batch)),",
        "onBatch: handlers.onBatch,",
      ],
      ["      process.whenKilled(() => handle.cancel());\n", ""],
    ],
    tests: deadTests,
  },
  {
    name: "store-answers-a-paused-process",
    breaks: "A store's answer waits for the end of a pause.",
    file: "packages/sim/src/store.ts",
    replace: [["(value) => process.run(() => resolve(value))", "(value) => resolve(value)"]],
    tests: deadTests,
  },
];

const faults: readonly Mutant[] = [
  {
    name: "sim-cut-both-ways",
    breaks: "Loss is one way.",
    file: `${network}network.ts`,
    replace: [
      ["    this.lose(from, to, 1);", "    this.lose(from, to, 1);\n    this.lose(to, from, 1);"],
    ],
    tests: faultTests,
  },
  {
    name: "sim-partition-one-way",
    breaks: "A partition is both ways.",
    file: `${network}network.ts`,
    replace: [["    this.cut(b, a);\n", ""]],
    tests: faultTests,
  },
  {
    name: "sim-lost-for-good",
    breaks: "What a link lost is sent again.",
    file: `${network}line.ts`,
    replace: [["else if (this.#cancelRetry === undefined) this.#scheduleRetry();", ""]],
    tests: faultTests,
  },
  {
    name: "sim-lost-packet-overtaken",
    breaks: "What is sent behind a lost packet waits for it.",
    file: `${network}line.ts`,
    replace: [
      ["    if (this.#waiting.length > 0) this.#waiting.push(sent);\n    else this", "    this"],
    ],
    tests: faultTests,
  },
  {
    name: "sim-retry-forgets-the-rest",
    breaks: "A retry that fails keeps everything behind it.",
    file: `${network}line.ts`,
    replace: [["      this.#waiting.push(...again.slice(at + 1));\n", ""]],
    tests: faultTests,
  },
  {
    name: "sim-retries-do-not-slow-down",
    breaks: "The wait before a retry doubles.",
    file: `${network}line.ts`,
    replace: [["    this.#retries += 1;\n", ""]],
    tests: faultTests,
  },
  {
    name: "sim-delay-overtakes",
    breaks: "Packets keep their order when a delay shrinks.",
    file: `${network}line.ts`,
    replace: [
      [
        "this.#lastAtMs = Math.max(this.#lastAtMs, this.#kernel.nowMs + transit);",
        "this.#lastAtMs = this.#kernel.nowMs + transit;",
      ],
    ],
    tests: faultTests,
  },
  {
    name: "sim-stall-forgets",
    breaks: "What a stall held arrives after it.",
    file: `${network}link.ts`,
    replace: [["    for (const run of waiting) run();\n", ""]],
    tests: faultTests,
  },
  {
    name: "sim-stall-passes",
    breaks: "A stalled link passes nothing.",
    file: `${network}link.ts`,
    replace: [['    if (this.#stalled) return "stalled";\n', ""]],
    tests: faultTests,
  },
  {
    name: "sim-bandwidth-per-packet",
    breaks: "All packets of a link share its bandwidth.",
    file: `${network}link.ts`,
    replace: [["Math.max(nowMs, this.#freeAtMs) +", "nowMs +"]],
    tests: faultTests,
  },
  {
    name: "sim-messages-weigh-nothing",
    breaks: "A message takes its bytes on a link.",
    file: `${local}transport.ts`,
    replace: [["frameBytes + frame.bytes.length", "frameBytes"]],
    tests: faultTests,
  },
  {
    name: "sim-silence-for-refusal",
    breaks: "A machine whose process is dead refuses its connections.",
    file: `${network}connection.ts`,
    replace: [['      this.#down.send({ kind: "refused" });\n', ""]],
    tests: faultTests,
  },
  {
    name: "sim-refusal-for-silence",
    breaks: "A machine that is gone is silent.",
    file: `${network}connection.ts`,
    replace: [["    if (!this.#to.isUp) return false;\n", ""]],
    tests: faultTests,
  },
  {
    name: "sim-power-off-tells",
    breaks: "A machine that loses power breaks no connection.",
    file: `${network}connection.ts`,
    replace: [["if (host.isUp) line.send", "if (line !== undefined) line.send"]],
    tests: faultTests,
  },
  {
    name: "sim-machine-forgets-silently",
    breaks: "A machine that is back resets the connections of its last life.",
    file: `${network}connection.ts`,
    replace: [
      ['    line.send({ kind: "reset" });\n  }\n\n  #accept', "    void line;\n  }\n\n  #accept"],
    ],
    tests: faultTests,
  },
  {
    name: "sim-half-open-tells",
    breaks: "Nobody is told of a half-open connection.",
    file: `${network}connection.ts`,
    replace: [['    if (how === "half-open") return;\n', ""]],
    tests: faultTests,
  },
  {
    name: "sim-reset-delivers",
    breaks: "A reset loses what is under way.",
    file: `${network}connection.ts`,
    replace: [["    this.#up.sever();\n", ""]],
    tests: faultTests,
  },
  {
    name: "sim-paused-process-accepts",
    breaks: "A paused process takes no connection.",
    file: `${network}connection.ts`,
    replace: [
      [
        '    end.run(() => {\n      end.handlers = accept(end);\n      this.#down.send({ kind: "accept" });\n    });',
        '    end.handlers = accept(end);\n    this.#down.send({ kind: "accept" });',
      ],
    ],
    tests: faultTests,
  },
  {
    name: "local-window-told-for-nothing",
    breaks: "A window opens when the other side's update arrives.",
    file: `${local}end.ts`,
    replace: [["      this.#inFlight += bytes.length;\n", ""]],
    tests: [...faultTests, ...localTests],
  },
  {
    name: "local-window-never-opens",
    breaks: "What was read opens the window again.",
    file: `${local}end.ts`,
    replace: [["      this.#inFlight -= frame.bytes;\n", ""]],
    tests: localTests,
  },
  {
    name: "local-silence-unnoticed",
    breaks: "A connection without an answer to its ping is given up.",
    file: `${local}keepalive.ts`,
    replace: [["      else this.#onSilence();", "      else this.#watch();"]],
    tests: faultTests,
  },
  {
    name: "local-idle-given-up",
    breaks: "A connection that answers its pings is kept.",
    file: `${local}keepalive.ts`,
    replace: [["if (this.#heardMs >= askedMs) this.#watch();", "if (askedMs < 0) this.#watch();"]],
    tests: faultTests,
  },
  {
    name: "local-never-dials-again",
    breaks: "A channel whose calls get no answer dials again.",
    file: `${local}channel.ts`,
    replace: [["if (this.#failures < failuresMax) return;", "if (this.#failures >= 0) return;"]],
    tests: faultTests,
  },
  {
    name: "local-closed-channel-pings",
    breaks: "A closed channel closes its connection.",
    file: `${local}channel.ts`,
    replace: [["    this.#connection?.retire();\n", ""]],
    tests: faultTests,
  },
  {
    name: "local-connects-for-ever",
    breaks: "A connection that does not come about is given up.",
    file: `${local}channel.ts`,
    replace: [['      this.#fail("silent", text);\n', "      void text;\n"]],
    tests: faultTests,
  },
  {
    name: "reset-counts-as-refused",
    breaks: "Only a refused connection counts as one.",
    file: "packages/rpc/src/connection-error.ts",
    replace: [['thrown.cause.trouble === "refused"', 'thrown.cause.trouble !== "silent"']],
    tests: localTests,
  },
  {
    name: "grpc-refusal-unseen",
    breaks: "A refused connection can be told from other trouble.",
    file: "packages/rpc/src/grpc/metadata.ts",
    replace: [["/\\bECONNREFUSED\\b/", "/\\bECONNRESET\\b/"]],
    tests: ["packages/rpc/src/grpc/grpc.test.ts"],
  },
];

const boots: readonly Mutant[] = [
  {
    name: "boot-leaves-a-failed-start",
    breaks: "A start that fails undoes what it did.",
    file: "packages/server/src/undo.ts",
    replace: [["    await undo.run(logger);\n    throw", "    throw"]],
    tests: bootTests,
  },
  {
    name: "boot-tells-the-bound-address",
    breaks: "Clients are told the advertised address.",
    file: `${boot}boot.ts`,
    replace: [["options.advertise(endpoints.client)", "endpoints.client"]],
    tests: bootTests,
  },
  {
    name: "boot-ready-before-it-serves",
    breaks: "A process is not ready before everything is served.",
    file: `${boot}boot.ts`,
    replace: [
      [
        "  const endpoints = await listen(options.listeners, services, health, undo);\n",
        "  options.onServing?.(true);\n  const endpoints = await listen(options.listeners, services, health, undo);\n",
      ],
    ],
    tests: bootTests,
  },
  {
    name: "boot-stop-stays-ready",
    breaks: "A process that stops is not ready.",
    file: "packages/server/src/serving.ts",
    replace: [["  undo.add(() => tell(false));\n", ""]],
    tests: bootTests,
  },
  {
    name: "boot-ready-while-it-recovers",
    breaks: "A server that recovers is not ready.",
    file: "packages/server/src/node/server.ts",
    replace: [
      ['  #reason: string | undefined = "starting";', "  #reason: string | undefined = undefined;"],
    ],
    tests: ["test/integration/surroundings.test.ts"],
  },
  {
    name: "boot-log-left-open",
    breaks: "A stop leaves a clean log.",
    file: "services/broker/src/process/parts.ts",
    replace: [["  undo.add(() => logs.close(true));\n", ""]],
    tests: bootTests,
  },
  {
    name: "sim-rot-in-the-last-round",
    breaks: "What rots in the journal cannot be taken for a torn write.",
    file: "packages/sim/src/crash/trouble.ts",
    replace: [["      if (rotten.has(placeOf(path, at))) continue;\n", ""]],
    tests: ["packages/sim/src/crash/trouble.test.ts"],
  },
  {
    name: "sim-both-points-rot",
    breaks: "One of the recovery points and their copy stays as it was.",
    file: "packages/sim/src/crash/trouble.ts",
    replace: [["  if (pointsFile.test(path)) run.rottenPoints = path;\n", ""]],
    tests: ["packages/sim/src/crash/trouble.test.ts"],
  },
  {
    name: "sim-name-excuses-a-stop",
    breaks: "Leader epochs that cannot be written are no reason for the directory to stop.",
    file: "packages/sim/src/crash/faults.ts",
    replace: [["if (name !== undefined) this.faultyEpochs.add(name);", "this.mayStop = true;"]],
    tests: ["packages/sim/src/crash/faults.test.ts"],
  },
];

const witness = "test/simulation/witness.ts";
const witnessTests = ["test/simulation/witness.test.ts"];

const witnesses: readonly Mutant[] = [
  {
    name: "sim-witness-blind",
    breaks: "A decision of a controller that is not active fails the run.",
    file: witness,
    replace: [["marks.always(active === controllerId, what)", "marks.always(true, what)"]],
    tests: witnessTests,
  },
  {
    name: "sim-witness-answers-too-much",
    breaks: "The process gets the results of what it asked for.",
    file: witness,
    replace: [["result.results.slice(0, -1)", "result.results"]],
    tests: witnessTests,
  },
  {
    name: "sim-witness-watches-brokers",
    breaks: "Brokers register themselves.",
    file: witness,
    replace: [["keys.brokerIntents,", "keys.brokers,"]],
    tests: witnessTests,
  },
];

export const simMutants: readonly Mutant[] = [
  ...witnesses,
  ...kernels,
  ...dead,
  ...faults,
  ...boots,
];
