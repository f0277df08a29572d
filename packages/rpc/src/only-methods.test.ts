import assert from "node:assert/strict";
import { test } from "node:test";
import { FetchService, LogService } from "@millrace/proto/broker";
import type { ServiceBinding, UnaryHandler } from "./api.ts";
import { methodOf } from "./method.ts";
import { onlyMethods } from "./only-methods.ts";

const handler: UnaryHandler<unknown, unknown> = async () => ({});

const serviceOf = (
  desc: ServiceBinding["desc"],
  paths: readonly { readonly path: string }[],
): ServiceBinding => ({
  desc,
  bindings: paths.map((method) => ({ kind: "unary", method, handler }) as never),
});

test("of the services only the named methods are left, and no service without one", () => {
  const { deleteRecords, describeLogs, listOffsets } = LogService.method;
  const fetchOnce = methodOf(FetchService.method.fetchOnce);
  const log = serviceOf(
    LogService,
    [deleteRecords, describeLogs, listOffsets].map(methodOf as never),
  );
  const fetch = serviceOf(FetchService, [fetchOnce]);
  const left = onlyMethods([log, fetch], [methodOf(listOffsets)]);
  assert.deepEqual(
    left.map(({ bindings, desc }) => [desc.typeName, bindings.map(({ method }) => method.path)]),
    [["millrace.broker.v1.LogService", ["/millrace.broker.v1.LogService/ListOffsets"]]],
  );
});
