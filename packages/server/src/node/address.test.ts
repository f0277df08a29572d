import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  advertisedOf,
  checkAddresses,
  checkAdvertise,
  isLoopback,
  isWildcard,
  tellAddresses,
} from "./address.ts";
import { configFrom } from "./run.ts";
import { listenerSettings } from "./settings.ts";

type Interfaces = Parameters<typeof advertisedOf>[2];
type Interface = NonNullable<NonNullable<Interfaces>[string]>[number];

const at = (address: string, internal = false): Interface => {
  const shared = { address, netmask: "", mac: "", internal, cidr: null };
  return address.includes(":")
    ? { ...shared, family: "IPv6", scopeid: 0 }
    : { ...shared, family: "IPv4" };
};

test("clients are told a usable address, never a wildcard", () => {
  const lo = [at("127.0.0.1", true), at("::1", true)];
  const eth = [at("fe80::1"), at("2001:db8::7"), at("169.254.1.1"), at("192.0.2.7")];
  const told = (listening: string, interfaces: Interfaces) =>
    advertisedOf("", listening, interfaces);
  for (const wildcard of ["0.0.0.0", "0", "[::]", "[0:0:0:0:0:0:0:0]", "[::ffff:0.0.0.0]"]) {
    const guess = { endpoint: "192.0.2.7:7400", guessed: true };
    assert.deepEqual(told(`${wildcard}:7400`, { lo, eth }), guess, wildcard);
  }
  assert.equal(told("[::]:1", { lo, eth: eth.slice(0, 2) }).endpoint, "[2001:db8::7]:1");
  assert.equal(told("0.0.0.0:1", { lo }).endpoint, "127.0.0.1:1");
  assert.equal(told("[::]:1", { lo: lo.slice(1) }).endpoint, "[::1]:1");
  assert.equal(told("0.0.0.0:1", {}).endpoint, "127.0.0.1:1");
  const own = { endpoint: "10.0.0.1:7400", guessed: false };
  assert.deepEqual(told("10.0.0.1:7400", { lo, eth }), own);
  const set = { endpoint: "broker.example:7400", guessed: false };
  assert.deepEqual(advertisedOf("broker.example:7400", "0.0.0.0:1", { lo, eth }), set);
});

test("an address that no client can dial is refused", () => {
  for (const bad of ["0.0.0.0:7400", "[::]:7400", "broker.example:0", "0:1"]) {
    assert.throws(
      () => checkAdvertise({ advertise: bad, listen: "127.0.0.1:7400" }),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG) && thrown.message.includes(bad),
    );
  }
  for (const good of ["", "broker.example:7400", "10.0.0.1:1", "[2001:db8::7]:65535"]) {
    checkAdvertise({ advertise: good, listen: "127.0.0.1:7400" }, false);
  }
});

const listens = { listen: "127.0.0.1:7400", "internal-listen": "0.0.0.0:0" };

test("a listener on all addresses needs one that is told, but in containers", () => {
  for (const listen of ["0.0.0.0:7400", "[::]:7400"]) {
    const fix =
      /every address of this machine, and clients must be told one: add --advertise HOST:7400/;
    assert.throws(() => checkAdvertise({ advertise: "", listen }, false), fix);
    checkAdvertise({ advertise: "", listen }, true);
    checkAdvertise({ advertise: "broker.example:7400", listen }, false);
  }
  const unset = { ...listens, advertise: "", "internal-advertise": "" };
  assert.throws(
    () => checkAddresses(unset, false),
    /add --internal-advertise HOST:PORT, as the clus/,
  );
  checkAddresses(unset, true);
});

test("clients and the cluster's processes are told an address each, and a guess is logged", () => {
  const lines: string[] = [];
  const logger = { ...silentLogger, warn: (_: object, text: string) => void lines.push(text) };
  const bound = { client: "10.0.0.1:7400", internal: "10.0.0.2:7401", health: "h:1" };
  const unset = { advertise: "", "internal-advertise": "" };
  const listened = { clientEndpoint: "10.0.0.1:7400", internalEndpoint: "10.0.0.2:7401" };
  assert.deepEqual(tellAddresses(unset, bound, logger), listened);
  const set = { advertise: "c:1", "internal-advertise": "i:2" };
  const told = { clientEndpoint: "c:1", internalEndpoint: "i:2" };
  assert.deepEqual(tellAddresses(set, { ...bound, internal: "0.0.0.0:7401" }, logger), told);
  assert.deepEqual(lines, []);
  tellAddresses(unset, { ...bound, internal: "0.0.0.0:7401" }, logger);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /the cluster's processes .* set --internal-advertise to/);
  assert.throws(
    () => checkAddresses({ ...listens, ...set, "internal-advertise": "0.0.0.0:7401" }),
    /--internal-advertise: "0.0.0.0:7401" is not an address that the cluster's processes can/,
  );
});

test("names that look like a wildcard or loopback are neither", () => {
  for (const name of ["10.0.0.0", "::1", "0x.example", "localhost"]) {
    assert.equal(isWildcard(name), false, name);
  }
  assert.deepEqual(["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"].map(isLoopback), [
    true,
    true,
    true,
    true,
  ]);
  assert.deepEqual(
    ["127.evil.example:1", "10.0.0.1:1", "[::]:1", "localhost.example:1"].map(isLoopback),
    [false, false, false, false],
  );
});

test("ports end at 65535, and an empty variable is an unset one", () => {
  for (const listen of ["h:65536", "h:99999", "h:", "h", ":1", "[::1:1"]) {
    assert.throws(
      () => configFrom(listenerSettings, ["--listen", listen], {}),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_CONFIG),
      listen,
    );
  }
  const empty = { MILLRACE_LISTEN: "", MILLRACE_CONFIG: "", MILLRACE_HEALTH_LISTEN: "" };
  const { values, sources } = configFrom(listenerSettings, ["--http-listen", "h:65535"], empty);
  assert.equal(values["http-listen"], "h:65535");
  assert.equal(values.listen, "127.0.0.1:7400");
  assert.deepEqual([sources.listen, sources["health-listen"]], ["default", "default"]);
});
