export { LocalNetwork, type LocalNetworkOptions } from "./network.ts";
export { keepaliveMs, type Link, perfectLink } from "./wire.ts";
