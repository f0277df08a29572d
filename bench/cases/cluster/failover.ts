/** What a client with its defaults sees when a process dies or hangs. */
import { setTimeout as sleep } from "node:timers/promises";
import type { MillraceCluster } from "../../lib/cluster.ts";
import type { Claim, Sample } from "../../lib/report.ts";
import { SteadyLoad } from "../../lib/steady-load.ts";
import { type ClusterCase, OwnCluster } from "./peers.ts";

const topic = "failover";
const partitions = 6;
/** Load before a fault, ms. */
const calmMs = 2000;
/** Records that are sent so soon after a fault may still be answered by who dies, ms. */
const soonMs = 100;
/** Longest wait for acknowledgements, and for all replicas to be in sync again, ms. */
const patienceMs = 60_000;

/** Whom a fault hits, and what it does. */
interface Fault {
  readonly victim: string;
  readonly strike: () => Promise<void>;
  /** Once acknowledgements go on. */
  readonly heal?: () => Promise<void>;
}

type FaultOf = (cluster: MillraceCluster, leader: string) => Promise<Fault>;

const brokerOf = (leader: number): string => `broker-${leader}`;

/** Strikes under load, until everything is as before. */
const measure = async (cluster: MillraceCluster, faultOf: FaultOf): Promise<Sample> => {
  const client = await cluster.connect();
  const load = new SteadyLoad({ client, topic, partitions });
  try {
    await load.untilAnswered(performance.now(), patienceMs);
    await sleep(calmMs);
    const states = await cluster.partitions([topic]);
    const { victim, strike, heal } = await faultOf(cluster, brokerOf(states[0]?.leader ?? -1));
    const of = (led: boolean): number[] =>
      states.flatMap((one) => ((brokerOf(one.leader) === victim) === led ? one.partition : []));
    const struckMs = performance.now();
    const calm = load.stall(of(true).concat(of(false)), {
      ...{ fromMs: struckMs - calmMs / 2, toMs: struckMs },
    });
    await strike();
    await load.untilAnswered(struckMs + soonMs, patienceMs);
    const span = { fromMs: struckMs, toMs: performance.now() };
    const led = of(true);
    const stalls = {
      ...(led.length > 0 ? { leaderStallMs: load.stall(led, span) } : {}),
      otherStallMs: load.stall(of(false), span),
    };
    await heal?.();
    await cluster.untilWhole([topic], patienceMs);
    const wholeMs = performance.now();
    const returning = load.stall(of(true).concat(of(false)), { fromMs: span.toMs, toMs: wholeMs });
    return {
      ...{ ...stalls, calmStallMs: calm, returnStallMs: returning },
      wholeSeconds: (wholeMs - struckMs) / 1000,
    };
  } finally {
    await load.stop().finally(() => client.close());
  }
};

const stall = { better: "less" } as const;

const ofBroker: readonly Claim[] = [
  { ...stall, metric: "leaderStallMs" },
  { ...stall, metric: "otherStallMs" },
  { ...stall, metric: "returnStallMs" },
  { ...stall, metric: "calmStallMs" },
  { ...stall, metric: "wholeSeconds" },
];

interface Described {
  readonly id: string;
  readonly title: string;
  readonly claims: readonly Claim[];
  readonly rounds: number;
}

const faultCase = (
  { id, title, claims, rounds }: Described,
  run: (cluster: MillraceCluster) => Promise<Sample>,
): ClusterCase => {
  const own = new OwnCluster();
  return {
    ...{ id, claims, rounds, uses: [] },
    title: `${title}, ${rounds} times`,
    before: async (peers) => {
      const cluster = await own.start(peers);
      await cluster.topic(topic, partitions);
    },
    after: () => own.end(id),
    contenders: { millrace: () => run(own.cluster) },
  };
};

/** Often enough for a median, and for what is seldom. */
const often = (scale: number): number => (scale >= 1 ? 30 : 3);
const seldom = (scale: number): number => (scale >= 1 ? 10 : 3);

export const brokerKilled = (scale: number): ClusterCase =>
  faultCase(
    {
      ...{ id: "broker-killed", title: "kill -9 of a broker under load" },
      ...{ claims: ofBroker, rounds: often(scale) },
    },
    (of) =>
      measure(of, async (cluster, victim) => ({
        victim,
        strike: () => cluster.act("kill", victim),
      })),
  );

export const brokerPaused = (scale: number): ClusterCase =>
  faultCase(
    {
      ...{ id: "broker-paused", title: "SIGSTOP of a broker under load" },
      ...{ claims: ofBroker, rounds: seldom(scale) },
    },
    (of) =>
      measure(of, async (cluster, victim) => ({
        victim,
        strike: () => cluster.act("pause", victim),
        heal: () => cluster.act("resume", victim),
      })),
  );

/** Seconds until a configuration can be changed again; an application repeats what failed. */
const adminSeconds = async (cluster: MillraceCluster, sinceMs: number): Promise<number> => {
  const change = { topic, set: { "retention.ms": String(604_800_000) } };
  for (;;) {
    try {
      await cluster.client.admin.alterConfigs(change);
      return (performance.now() - sinceMs) / 1000;
    } catch (thrown) {
      if (performance.now() > sinceMs + patienceMs) throw thrown;
      await sleep(soonMs);
    }
  }
};

export const controllerKilled = (scale: number): ClusterCase =>
  faultCase(
    {
      ...{ id: "controller-killed", title: "kill -9 of the active controller under load" },
      claims: [
        { ...stall, metric: "otherStallMs" },
        { ...stall, metric: "calmStallMs" },
        { ...stall, metric: "adminSeconds" },
      ],
      rounds: seldom(scale),
    },
    async (of) => {
      let struckMs = 0;
      let again = 0;
      const sample = await measure(of, async (cluster) => {
        const victim = await cluster.activeController();
        const strike = async (): Promise<void> => {
          struckMs = performance.now();
          await cluster.act("kill", victim);
          // Acknowledgements are looked at until a controller does its work again.
          again = await adminSeconds(cluster, struckMs);
        };
        return { victim, strike };
      });
      return { ...sample, adminSeconds: again };
    },
  );

export const bothKilled = (scale: number): ClusterCase =>
  faultCase(
    {
      ...{ id: "both-killed", title: "kill -9 of the active controller and a broker at once" },
      ...{ claims: ofBroker, rounds: seldom(scale) },
    },
    (of) =>
      measure(of, async (cluster, victim) => {
        const controller = await cluster.activeController();
        const strike = async (): Promise<void> => {
          await Promise.all([cluster.act("kill", controller), cluster.act("kill", victim)]);
        };
        return { victim, strike };
      }),
  );
