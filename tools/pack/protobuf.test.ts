import { test } from "node:test";
import type * as real from "@bufbuild/protobuf";
import type * as told from "./protobuf.d.ts";

/** True where every A is a B. */
type Is<A, B> = A extends B ? true : false;

test("the library's types are what ours tell of them", () => {
  // The compiler compares them.
  true satisfies Is<real.Message<"a.B">, told.Message<"a.B">>;
  true satisfies Is<real.DescMessage, told.DescMessage>;
  true satisfies Is<real.DescService, told.DescService>;
  true satisfies Is<real.DescMethod, told.DescMethod>;
});
