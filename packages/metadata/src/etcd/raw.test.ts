/** What etcd3's raw clients really send, against a gRPC server that stands in for etcd. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { nodeClock } from "@millrace/env/node";
import { connectEtcd } from "./raw.ts";
import { EtcdError, etcdSays } from "./raw-api.ts";

const clock = nodeClock();

const method = (path: string, stream: boolean) => ({
  ...{ path: `/etcdserverpb.${path}`, requestStream: stream, responseStream: stream },
  requestSerialize: (bytes: Buffer) => bytes,
  requestDeserialize: (bytes: Buffer) => bytes,
  responseSerialize: (bytes: Buffer) => bytes,
  responseDeserialize: (bytes: Buffer) => bytes,
});

const services: ServiceDefinition[] = [
  { range: method("KV/Range", false), txn: method("KV/Txn", false) },
  { watch: method("Watch/Watch", true) },
];

type Unary = (done: sendUnaryData<Buffer>) => void;

/** A server that notes what it is sent. */
const serve = async (context: TestContext) => {
  const seen: { call: string; metadata: Metadata }[] = [];
  const peers = new Set<string>();
  const state: { answer: Unary; streams: ServerDuplexStream<Buffer, Buffer>[] } = {
    answer: (done) => done(null, Buffer.alloc(0)),
    streams: [],
  };
  const unary =
    (name: string) =>
    (
      request: { readonly metadata: Metadata; getPeer(): string },
      done: sendUnaryData<Buffer>,
    ): void => {
      seen.push({ call: name, metadata: request.metadata });
      peers.add(request.getPeer());
      state.answer(done);
    };
  const server = new Server();
  const [kv = {}, watch = {}] = services;
  server.addService(kv, { range: unary("range"), txn: unary("txn") });
  server.addService(watch, {
    watch: (stream: ServerDuplexStream<Buffer, Buffer>) => {
      seen.push({ call: "watch", metadata: stream.metadata });
      state.streams.push(stream);
      stream.on("data", () => {});
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  const raw = connectEtcd({
    endpoint: `http://127.0.0.1:${port}`,
    wallMs: () => clock.wallMs(),
  });
  context.after(() => {
    raw.close();
    server.forceShutdown();
  });
  return { raw, seen, peers, state };
};

const call = (timeoutMs: number, token?: string) => ({ token, timeoutMs });
const failure = async (work: Promise<unknown>): Promise<EtcdError> => {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof EtcdError, String(thrown));
  return thrown;
};

test("every call says that it needs a leader, and who makes it", async (context) => {
  const { raw, seen, state } = await serve(context);
  await raw.range({}, call(5000));
  await raw.txn({}, call(5000, "abc"));
  const stream = raw.watch(call(5000, "abc"), { onData: () => {}, onEnd: () => {} });
  stream.write({ progress_request: {} });
  while (state.streams.length === 0) await clock.sleep(1);
  stream.close();
  assert.deepEqual(
    seen.map(({ call: name, metadata }) => [
      name,
      metadata.get("hasleader"),
      metadata.get("token"),
    ]),
    [
      ["range", ["true"], []],
      ["txn", ["true"], ["abc"]],
      ["watch", ["true"], ["abc"]],
    ],
  );
});

test("a call that fails is not made again, and its code is told", async (context) => {
  const { raw, seen, state } = await serve(context);
  for (const [code, details, wanted] of [
    [status.UNAVAILABLE, "etcdserver: request timed out", 14],
    [status.INTERNAL, "broken", 13],
    [status.UNKNOWN, "broken", 2],
    [status.CANCELLED, "broken", 1],
    [status.ABORTED, "broken", 10],
    [status.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", 3],
    [status.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", 3],
    [status.NOT_FOUND, "etcdserver: requested lease not found", 5],
    [status.PERMISSION_DENIED, "etcdserver: permission denied", 7],
    [status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", 8],
    [status.FAILED_PRECONDITION, "broken", 9],
    [status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", 11],
    [status.UNIMPLEMENTED, "unknown service", 12],
    [status.UNAUTHENTICATED, "etcdserver: invalid auth token", 16],
    [status.DATA_LOSS, "broken", 15],
  ] as const) {
    state.answer = (done) => done({ code, details });
    const before = seen.length;
    const error = await failure(raw.txn({}, call(5000)));
    assert.equal(error.code, wanted, details);
    const text = details.replace(/^etcdserver: /, etcdSays);
    assert.ok(error.message.includes(text), error.message);
    assert.equal(seen.length - before, 1, `${details}: sent once`);
  }
});

test("a call without an answer ends at its deadline, and the next has a new connection", async (context) => {
  const { raw, state, peers } = await serve(context);
  // A stream that keeps its own connection open must not lend it to calls.
  const stream = raw.watch(call(5000), { onData: () => {}, onEnd: () => {} });
  stream.write({ progress_request: {} });
  while (state.streams.length === 0) await clock.sleep(1);
  state.answer = () => {};
  const begin = clock.monoMs();
  const late = clock.sleep(3000).then(() => assert.fail("it has not ended"));
  assert.equal((await Promise.race([failure(raw.txn({}, call(200))), late])).code, 4);
  late.catch(() => {});
  assert.ok(clock.monoMs() - begin < 3000);
  state.answer = (done) => done(null, Buffer.alloc(0));
  await raw.range({}, call(5000));
  assert.equal(peers.size, 2);
});

test("a stream that ends, breaks or is closed tells so once or not at all", async (context) => {
  const { raw, state } = await serve(context);
  const ends: number[] = [];
  const watch = () =>
    raw.watch(call(5000), { onData: () => {}, onEnd: ({ code }) => ends.push(code) });
  const opened = async (count: number): Promise<ServerDuplexStream<Buffer, Buffer>> => {
    while (state.streams.length < count) await clock.sleep(1);
    return state.streams[count - 1] ?? assert.fail();
  };
  watch().write({ progress_request: {} });
  (await opened(1)).end();
  while (ends.length < 1) await clock.sleep(1);
  watch().write({ progress_request: {} });
  (await opened(2)).emit("error", { code: status.UNAVAILABLE, details: "etcdserver: no leader" });
  while (ends.length < 2) await clock.sleep(1);
  const closed = watch();
  closed.write({ progress_request: {} });
  const third = await opened(3);
  const cancelled = new Promise((resolve) => third.once("cancelled", resolve));
  closed.close();
  await cancelled;
  await clock.sleep(20);
  assert.deepEqual(ends, [14, 14]);
});

test("what nobody listens on is unavailable, not tried for ever", async () => {
  const raw = connectEtcd({ endpoint: "http://127.0.0.1:1", wallMs: () => clock.wallMs() });
  assert.equal((await failure(raw.range({}, call(5000)))).code, 14);
  const ended = await new Promise<EtcdError>((resolve) => {
    raw.watch(call(5000), { onData: () => {}, onEnd: resolve });
  });
  assert.equal(ended.code, 14);
  raw.close();
});
