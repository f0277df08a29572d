import assert from "node:assert/strict";
import { test } from "node:test";
import { versionFlags, whyNot } from "./build.ts";

test("without Go, or with an old one, the reason says what to do", () => {
  const why = (go: string | undefined): string => whyNot(["kubectl", "helm"], { go }) ?? "";
  assert.equal(why("go version go1.26.8 linux/amd64"), "");
  assert.equal(why("go version go1.27.0 darwin/arm64"), "");
  const advice = "install Go 1.26 or newer";
  assert.equal(why(undefined), `kubectl, helm cannot be built: there is no Go: ${advice}`);
  const old = "go version go1.21.5 linux/amd64";
  assert.equal(why(old), `kubectl, helm cannot be built with ${old}: ${advice}`);
});

test("programs are told the version that is pinned", () => {
  const flags = versionFlags("require (\n\tk8s.io/kubernetes v1.36.4 // indirect\n)\n");
  for (const place of ["component-base/version", "client-go/pkg/version"]) {
    assert.ok(flags.includes(`-X k8s.io/${place}.gitVersion=v1.36.4 `));
    assert.ok(flags.includes(`-X k8s.io/${place}.gitMinor=36`));
  }
});
