/**
 * `node broker-process.ts ENDPOINT ROOT BROKER_ID NAME TTL_SECONDS WAIT_MS`: a process that
 * registers as a broker, and stays until SIGTERM. It writes lines of JSON: `{"epoch"}` for each
 * registration, `{"refused"}` when it cannot register and ends, and `{"log"}` for what it says to
 * the operator.
 */
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { MillraceError } from "@millrace/errors";
import { brokerRegistration, Registration } from "@millrace/metadata";
import { openEtcdStore } from "@millrace/metadata/etcd";
import { BrokerRecordSchema } from "@millrace/proto/storage";

const [endpoint = "", root = "", brokerId, name = "", ttlSeconds, waitMs] = process.argv.slice(2);
const [clock, random] = [nodeClock(), nodeRandom()];
const say = (line: object): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};
const log = (fields: Readonly<Record<string, unknown>>, message: string): void => {
  say({ log: message, why: String(fields["err"] ?? fields["why"] ?? "") });
  if (message === "registered anew") say({ epoch: fields["epoch"] });
};
const logger = { ...silentLogger, info: log, warn: log, error: log };
const store = openEtcdStore({
  ...{ clock, random, logger: silentLogger, endpoints: [endpoint], root },
});
const registration = new Registration({
  ...{ store, clock, logger, ttlSeconds: Number(ttlSeconds), waitMs: Number(waitMs) },
  kind: brokerRegistration,
  record: create(BrokerRecordSchema, {
    ...{ brokerId: Number(brokerId), incarnationId: random.bytes(16), internalEndpoint: name },
  }),
});
process.on("SIGTERM", async () => {
  await registration.close();
  await store.close();
});
try {
  await registration.register();
  say({ epoch: registration.epoch });
} catch (thrown) {
  const { code, message } = MillraceError.from(thrown);
  say({ refused: message, code });
  await registration.close();
  await store.close();
}
