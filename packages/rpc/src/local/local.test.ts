import { Incarnation, Kernel, SimNetwork } from "@millrace/sim";
import { carrierContract } from "../contract.ts";

/** Two machines: `delayMs` one way between them. */
const carrier = (delayMs: number) => () => {
  const kernel = new Kernel(1);
  const network = new SimNetwork(kernel, () => delayMs);
  const client = new Incarnation(kernel, "client");
  return {
    listener: network.attach("server", new Incarnation(kernel, "server")).listener,
    dialer: network.attach("client", client).dialer,
    address: "server:0",
    run: (body: () => Promise<void>) => kernel.run(body()),
    sleep: (ms: number) => client.clock().sleep(ms),
  };
};

carrierContract("local", carrier(0));
carrierContract("local, 5 ms apart", carrier(5));
