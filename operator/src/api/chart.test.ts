/** The chart of the definitions is what the kinds say. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { customResourceDefinition, kinds } from "./index.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const read = (path: string): string => readFileSync(`${root}${path}`, "utf8");

test("the chart has the definitions as they are rendered, and keeps them", () => {
  const keep =
    "  {{- if .Values.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n";
  for (const kind of kinds) {
    const text = read(`deploy/helm/millrace-crds/templates/${kind.plural}.yaml`);
    assert.ok(text.includes(keep), kind.kind);
    assert.deepEqual(parse(text.replace(keep, "")), customResourceDefinition(kind), kind.kind);
    // kubectl apply keeps a copy in an annotation, which has at most 256 KiB.
    assert.ok(JSON.stringify(customResourceDefinition(kind)).length < 200_000, kind.kind);
  }
  assert.deepEqual(parse(read("deploy/helm/millrace-crds/values.yaml")), { keep: true });
});
