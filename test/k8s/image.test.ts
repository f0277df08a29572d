/** The image of the server in pods of a real cluster, with nothing that a careful one forbids. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect } from "@millrace/client";
import { imageName, makeServerImage } from "../../tools/images/server.ts";
import { clusterDirectory } from "../../tools/k8s/cluster.ts";
import { importImages } from "../../tools/k8s/images.ts";
import { kubectl, skipReason, withCluster } from "./whole-cluster.ts";

const bytesMax = 80 * 2 ** 20;
const directory = mkdtempSync(join(tmpdir(), "millrace-image-test-"));
after(() => rmSync(directory, { recursive: true, force: true }));

/** What the profile "restricted" of Kubernetes asks for, a read-only root, and another user. */
const pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "server" },
  spec: {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: 10_001,
      runAsGroup: 10_001,
      fsGroup: 10_001,
      seccompProfile: { type: "RuntimeDefault" },
    },
    containers: [
      {
        name: "server",
        image: imageName,
        imagePullPolicy: "Never",
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        },
        env: [
          { name: "POD_IP", valueFrom: { fieldRef: { fieldPath: "status.podIP" } } },
          { name: "MILLRACE_ADVERTISE", value: "$(POD_IP):7400" },
        ],
        readinessProbe: { httpGet: { path: "/readyz", port: 7480 }, periodSeconds: 1 },
        volumeMounts: [
          { name: "data", mountPath: "/var/lib/millrace" },
          { name: "tmp", mountPath: "/tmp" },
        ],
      },
    ],
    volumes: [
      { name: "data", emptyDir: {} },
      { name: "tmp", emptyDir: { medium: "Memory", sizeLimit: "64Mi" } },
    ],
  },
};

test("the image is small, the same each time, and serves under the strictest rules", {
  skip: skipReason ?? false,
  timeout: 400_000,
}, async () => {
  const made = await makeServerImage(join(directory, "one.tar"));
  assert.ok(made.bytes <= bytesMax, `${made.bytes} bytes are over 80 MiB`);
  const again = await makeServerImage(join(directory, "two.tar"));
  assert.equal(again.digest, made.digest);
  await withCluster(async () => {
    await importImages(made.file, clusterDirectory);
    const file = join(directory, "pod.json");
    writeFileSync(file, JSON.stringify(pod));
    await kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted");
    await kubectl("create", "-f", file);
    await kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s");
    const address = await kubectl("get", "pod", "server", "-o", "jsonpath={.status.podIP}");
    await using client = await connect({ bootstrap: [`${address}:7400`] });
    await client.admin.createTopic({ name: "t", partitions: 1 });
    await client.producer({ compression: "lz4" }).send({ topic: "t", value: "hello" });
    for await (const record of client.consumer({ topic: "t", from: "earliest" }).records()) {
      assert.equal(record.text(), "hello");
      break;
    }
    for (const shell of ["/bin/sh", "/bin/bash", "/bin/busybox"]) {
      await assert.rejects(kubectl("exec", "server", "--", shell, "-c", "true"), /no such file/);
    }
    const identity = "console.log(process.getuid(), process.version)";
    const said = await kubectl("exec", "server", "--", "node", "-e", identity);
    assert.equal(said.trim(), `10001 ${process.version}`);
    // A stop is a stop: it ends by SIGTERM, long before the kubelet loses its patience.
    const beforeMs = performance.now();
    await kubectl("delete", "pod", "server", "--timeout=60s");
    assert.ok(performance.now() - beforeMs < 25_000, "SIGTERM ends it");
  });
});
