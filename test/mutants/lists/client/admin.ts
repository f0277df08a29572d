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
    replace: [["return this.#isOfBroker(error);", "return false;"]],
    tests,
  },
  {
    name: "client-admin-takes-a-broker-for-a-controller",
    breaks: "A call that found no controller in time may be tried again, and says why it failed.",
    file,
    replace: [["this.#isOfBroker(error) ? noController(this.#timeoutMs) : error", "error"]],
    tests,
  },
];
