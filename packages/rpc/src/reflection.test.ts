import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ProduceService } from "@millrace/proto/broker";
import * as v1 from "../gen/grpc/reflection/v1/reflection_pb.js";
import * as v1alpha from "../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { grpcDialer } from "./grpc/client/dialer.ts";
import { grpcListener } from "./grpc/server/server.ts";
import { methodOf } from "./method.ts";
import { reflectionServices } from "./reflection.ts";

test("both versions of reflection tell the same", async () => {
  const server = await grpcListener().listen("127.0.0.1:0", reflectionServices([ProduceService]));
  const channel = grpcDialer().dial(server.endpoint);
  try {
    const symbol = { case: "fileContainingSymbol", value: ProduceService.typeName } as const;
    const questions = [
      { case: "listServices", value: "" },
      symbol,
      { ...symbol, value: "google.rpc.ErrorInfo" },
      { ...symbol, value: "nonsense" },
    ] as const;
    const current = channel.bidi(methodOf(v1.ServerReflection.method.serverReflectionInfo));
    const former = channel.bidi(methodOf(v1alpha.ServerReflection.method.serverReflectionInfo));
    for (const messageRequest of questions) {
      const ask = { host: "h", messageRequest };
      current.write(create(v1.ServerReflectionRequestSchema, ask));
      former.write(create(v1alpha.ServerReflectionRequestSchema, ask));
      const [answer, older] = [await current.read(), await former.read()];
      assert.equal(answer?.originalRequest?.messageRequest.case, messageRequest.case);
      const plain = (message: unknown): string =>
        JSON.stringify(message).replaceAll("v1alpha", "v1");
      assert.equal(plain(older?.messageResponse), plain(answer?.messageResponse));
      const isUnknown = answer?.messageResponse.case === "errorResponse";
      assert.equal(isUnknown, messageRequest.value === "nonsense", messageRequest.value);
    }
    current.cancel();
    former.cancel();
  } finally {
    channel.close();
    await server.shutdown(0);
  }
});
