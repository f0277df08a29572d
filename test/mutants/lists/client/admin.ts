/** Mutants of Admin calls while controllers come and go. */
import type { Mutant } from "../../mutant.ts";

const file = "packages/client/src/core/admin.ts";
const tests = ["packages/client/src/core/failures.test.ts"];

export const adminMutants: readonly Mutant[] = [
  {
    name: "client-admin-stays-with-a-dead-controller",
    breaks: "A call that fails has the controller looked for again.",
    file,
    replace: [["          if (wantsRefresh(error)) void metadata.renew();\n", ""]],
    tests,
  },
  {
    name: "client-admin-gives-reads-up",
    breaks: "A read-only call is repeated whatever it did.",
    file,
    replace: [["(isRead || !sideEffects)", "!sideEffects"]],
    tests,
  },
  {
    name: "client-admin-repeats-what-had-effects",
    breaks: "A call that may have had an effect is not repeated.",
    file,
    replace: [["(isRead || !sideEffects)", "(!isRead || !sideEffects)"]],
    tests,
  },
  {
    name: "client-admin-asks-brokers-once",
    breaks: "A call waits while no controller is known.",
    file,
    replace: [["const isOfBroker = !hasController &&", "const isOfBroker = attempt < 0 &&"]],
    tests,
  },
  {
    name: "client-admin-judges-by-what-is-known-since",
    breaks: "A call that a broker got is repeated, though the controller is known by its answer.",
    file,
    replace: [
      ["const isOfBroker = !hasController &&", "const isOfBroker = !metadata.hasController &&"],
    ],
    tests,
  },
  {
    name: "client-admin-repeats-what-no-controller-knows",
    breaks: "A call that the controller does not know is not repeated.",
    file,
    replace: [["const isOfBroker = !hasController &&", "const isOfBroker ="]],
    tests,
  },
  {
    name: "client-admin-takes-a-broker-for-a-controller",
    breaks: "A call that found no controller in time may be tried again, and says why it failed.",
    file,
    replace: [["isOfBroker ? noController(this.#timeoutMs) : error", "error"]],
    tests,
  },
];
