import { setTimeout as sleep } from "node:timers/promises";
import { nodeClock } from "@millrace/env/node";
import { carrierContract } from "../contract.ts";
import { LocalNetwork } from "./index.ts";

carrierContract("local", () => {
  const network = new LocalNetwork({ clock: nodeClock() });
  return {
    listener: network.listener("server"),
    dialer: network.dialer("client"),
    address: "server:0",
    run: (body) => body(),
    sleep: async (ms) => {
      await sleep(ms);
    },
  };
});
