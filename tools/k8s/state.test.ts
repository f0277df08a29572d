import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Notes, readState } from "./state.ts";
import { hasOthers, mountsBelow, undo } from "./undo.ts";

const root = mkdtempSync(join(tmpdir(), "millrace-state-"));
after(() => rmSync(root, { recursive: true, force: true }));

const etcd = { name: "etcd", pid: 1, started: "never" };

test("what is noted is read by another process", () => {
  const directory = join(root, "one");
  assert.equal(readState(directory), undefined);
  const notes = Notes.begin(directory, "cluster");
  assert.deepEqual(readState(directory), { kind: "cluster", processes: [] });
  notes.started(etcd);
  notes.started({ ...etcd, pid: 2 });
  notes.note({ url: "https://127.0.0.1:1" });
  const processes = [etcd, { ...etcd, pid: 2 }];
  const expected = { kind: "cluster", processes, url: "https://127.0.0.1:1" };
  assert.deepEqual(readState(directory), expected);
  assert.deepEqual(notes.state, expected);
});

test("a second cluster in a directory, and one beside other files, are refused", () => {
  const directory = join(root, "two");
  Notes.begin(directory, "api-only");
  assert.throws(() => Notes.begin(directory, "api-only"), /has a cluster already: end it with/);
  writeFileSync(join(root, "letter"), "mine");
  assert.throws(() => Notes.begin(root, "cluster"), /is not empty.*use --dir with another$/);
});

test("undoing ends no process but those that were started, and removes the directory", async () => {
  const directory = join(root, "three");
  const notes = Notes.begin(directory, "api-only");
  // The process of this test, with a start that is not its own.
  notes.started({ ...etcd, pid: process.pid });
  await undo(directory, notes.state);
  assert.ok(!existsSync(directory));
});

test("mounts are found at and below a directory, innermost first", () => {
  const table = [
    "proc /proc proc rw 0 0",
    "overlay /var/x/a/rootfs overlay rw 0 0",
    "tmpfs /var/x/a tmpfs rw 0 0",
    "tmpfs /var/x/a\\040b tmpfs rw 0 0",
    "tmpfs /var/xy tmpfs rw 0 0",
  ].join("\n");
  assert.deepEqual(mountsBelow(table, "/var/x"), ["/var/x/a/rootfs", "/var/x/a b", "/var/x/a"]);
  assert.deepEqual(mountsBelow(table, "/var/xy"), ["/var/xy"]);
  assert.deepEqual(mountsBelow("", "/var/x"), []);
});

test("directories that others have come to use since are left alone", () => {
  const place = join(root, "machine");
  const paths = ["/run/containerd", "/run/netns", "/var/lib/kubelet"];
  for (const path of paths) mkdirSync(join(place, path), { recursive: true });
  mkdirSync(join(place, "/run/containerd/s"));
  writeFileSync(join(place, "/var/lib/kubelet/file"), "");
  const others = (): string[] => paths.filter((path) => hasOthers(path, place));
  assert.deepEqual(others(), []);
  writeFileSync(join(place, "/run/netns/mine"), "");
  assert.deepEqual(others(), ["/run/netns"]);
  writeFileSync(join(place, "/run/containerd/containerd.sock"), "");
  assert.deepEqual(others(), ["/run/containerd", "/run/netns"]);
});
