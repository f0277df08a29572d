import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Disk, DiskFile } from "@millrace/env";
import { silentLogger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { ErrorCode, hasCode, type MillraceError } from "@millrace/errors";
import { nodeCompressor } from "@millrace/record/node";
import { Durability } from "../files/durability.ts";
import { FileCache } from "../files/file-cache.ts";
import { Segment } from "./segment.ts";
import { type HeldBytes, SegmentWriter } from "./writer.ts";

interface Counts {
  writes: number;
  syncs: number;
  /** What the next write or fsync fails with. */
  failWrite?: string | undefined;
  failSync?: string | undefined;
  /** Writes wait for it. */
  gate?: Promise<void> | undefined;
}

class Failure extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** The disk, counting, and failing when told to. */
const counting = (disk: Disk, counts: Counts): Disk => ({
  ...disk,
  open: async (path, mode) => {
    const file = await disk.open(path, mode);
    const counted: DiskFile = {
      path,
      read: (...args) => file.read(...args),
      truncate: (bytes) => file.truncate(bytes),
      size: () => file.size(),
      close: () => file.close(),
      write: async (chunks, position) => {
        counts.writes += 1;
        await counts.gate;
        const code = counts.failWrite;
        counts.failWrite = undefined;
        if (code !== undefined) throw new Failure(code);
        await file.write(chunks, position);
      },
      sync: async () => {
        counts.syncs += 1;
        const code = counts.failSync;
        counts.failSync = undefined;
        if (code !== undefined) throw new Failure(code);
        await file.sync();
      },
    };
    return counted;
  },
});

const discard = (writes: SegmentWriter, segment: Segment): Promise<void> => {
  segment.drop();
  return writes.discard(segment);
};

const setUp = async (
  settings: Partial<Record<"bytesMax" | "lingerMs" | "syncStepBytes", number>>,
  run: (parts: {
    writes: SegmentWriter;
    counts: Counts;
    failures: MillraceError[];
    root: string;
    /** Appends to the segment; what it returns queues the bytes. */
    append: (segment: Segment, text: string, held?: HeldBytes) => () => void;
    add: (segment: Segment, text: string, held?: HeldBytes) => void;
  }) => Promise<void>,
): Promise<void> => {
  const root = mkdtempSync(join(tmpdir(), "millrace-writes-"));
  const env = nodeEnv({ dataDirectory: root, compressor: nodeCompressor, logger: silentLogger });
  const counts: Counts = { writes: 0, syncs: 0 };
  const failures: MillraceError[] = [];
  const files = new FileCache(counting(env.disk, counts), silentLogger, 10);
  const writes = new SegmentWriter({
    clock: env.clock,
    logger: env.logger,
    files,
    bytesMax: 1000,
    lingerMs: 60_000,
    syncStepBytes: 1_000_000,
    ...settings,
    onFull: async () => {},
    onFailure: (error) => failures.push(error),
  });
  const target = { directory: ".", names: new Durability() };
  const append = (segment: Segment, text: string, held?: HeldBytes): (() => void) => {
    const batch = { lastOffset: segment.endOffset, bytes: text.length };
    const position = segment.append({ ...batch, maxTimestampMs: 0, appendTimeMs: 0 }, 1024);
    const bytes = text.length;
    const chunks = [Buffer.from(text)];
    return () => writes.add(target, { segment, position, chunks, bytes, held });
  };
  const add = (segment: Segment, text: string, held?: HeldBytes): void =>
    append(segment, text, held)();
  try {
    await run({ writes, counts, failures, root, append, add });
  } finally {
    writes.close();
    await files.closeAll();
    rmSync(root, { recursive: true, force: true });
  }
};

const contentOf = (root: string, segment: Segment): string =>
  readFileSync(join(root, segment.path), "utf8");

test("what is added waits for company, and is written at once for who needs it", async () => {
  await setUp({}, async ({ writes, counts, root, add }) => {
    const segment = new Segment(".", 0);
    for (const text of ["a", "bc", "def"]) add(segment, text);
    await sleep(20);
    assert.equal(counts.writes, 0);
    assert.equal(writes.bytes, 6);
    assert.ok(writes.has(segment));
    await writes.reach(segment, 2);
    assert.equal(counts.writes, 1);
    assert.equal(contentOf(root, segment), "abcdef");
    assert.equal(segment.writtenBytes, 6);
    assert.ok(segment.durability.pending && segment.created);
    assert.equal(writes.bytes, 0);
    assert.ok(!writes.has(segment));
    await writes.written(segment);
    assert.equal(counts.writes, 1);
  });
});

test("large writes are cut between batches", async () => {
  await setUp({ bytesMax: 10_000_000 }, async ({ writes, counts, root, add }) => {
    const segment = new Segment(".", 0);
    const batches = Array.from({ length: 20 }, (_, i) => String(i % 10).repeat(200_000));
    batches.push("x".repeat(700_000), "y");
    const ends = new Set<number>();
    for (const batch of batches) {
      add(segment, batch);
      ends.add(segment.sizeBytes);
    }
    const reached = writes.written(segment);
    while (segment.writtenBytes < segment.sizeBytes) {
      assert.ok(segment.writtenBytes === 0 || ends.has(segment.writtenBytes));
      await sleep(0);
    }
    await reached;
    // Two batches of 200,000 in each of ten, and the large one by itself.
    assert.equal(counts.writes, 12);
    assert.equal(contentOf(root, segment), batches.join(""));
  });
});

test("nothing waits longer than the linger time", async () => {
  await setUp({ lingerMs: 10 }, async ({ writes, root, add }) => {
    const segments = Array.from({ length: 5 }, (_, i) => new Segment(".", i));
    for (const segment of segments) add(segment, `of ${segment.baseOffset}`);
    while (writes.bytes > 0) await sleep(5);
    for (const segment of segments) {
      assert.equal(contentOf(root, segment), `of ${segment.baseOffset}`);
    }
  });
});

test("who waits for bytes that are added later gets them", async () => {
  await setUp({}, async ({ writes, root, append }) => {
    const segment = new Segment(".", 0);
    const [addFirst, addSecond] = [append(segment, "ab"), append(segment, "cd")];
    const reached = writes.reach(segment, 4);
    addFirst();
    await sleep(10);
    addSecond();
    await reached;
    assert.equal(contentOf(root, segment), "abcd");
  });
});

test("more than the bound is waited for", async () => {
  await setUp({ bytesMax: 10 }, async ({ writes, counts, add }) => {
    const gate = Promise.withResolvers<void>();
    counts.gate = gate.promise;
    const segment = new Segment(".", 0);
    add(segment, "x".repeat(11));
    let below = false;
    const waiting = writes.waitForRoom().then(() => {
      below = true;
    });
    await sleep(20);
    assert.equal(below, false);
    gate.resolve();
    await waiting;
    assert.equal(writes.bytes, 0);
  });
});

test("a segment that goes is not written any more, and nobody waits for it", async () => {
  await setUp({}, async ({ writes, counts, root, add }) => {
    const segment = new Segment(".", 0);
    add(segment, "abc");
    await discard(writes, segment);
    assert.equal(counts.writes, 0);
    assert.equal(writes.bytes, 0);
    const gate = Promise.withResolvers<void>();
    counts.gate = gate.promise;
    const other = new Segment(".", 1);
    add(other, "abc");
    const reading = writes.written(other);
    add(other, "def");
    const late = writes.written(other);
    let discarded = false;
    const discarding = discard(writes, other).then(() => {
      discarded = true;
    });
    await assert.rejects(reading, /was dropped/);
    await assert.rejects(late, /was dropped/);
    assert.equal(discarded, false);
    gate.resolve();
    await discarding;
    assert.deepEqual(readdirSync(root), [other.path.slice(2)]);
    assert.equal(contentOf(root, other), "abc");
  });
});

test("a read of a segment that was dropped is told so, also while it is written", {
  timeout: 20_000,
}, async () => {
  await setUp({}, async ({ writes, counts, add }) => {
    const gate = Promise.withResolvers<void>();
    counts.gate = gate.promise;
    const segment = new Segment(".", 0);
    add(segment, "abc");
    const written = writes.written(segment);
    const discarding = discard(writes, segment);
    await assert.rejects(written, /was dropped/);
    await assert.rejects(writes.reach(segment, 3), /was dropped/);
    await writes.all();
    gate.resolve();
    await discarding;
    await assert.rejects(writes.reach(segment, 9), /was dropped/);
    await writes.all();
  });
});

test("what is dropped makes room", async () => {
  for (const how of ["discard", "cut"] as const) {
    await setUp({ bytesMax: 4 }, async ({ writes, counts, add }) => {
      const gate = Promise.withResolvers<void>();
      counts.gate = gate.promise;
      const segment = new Segment(".", 0);
      add(segment, "abc");
      add(segment, "def");
      let room = false;
      const waiting = writes.waitForRoom().then(() => {
        room = true;
      });
      const dropping = how === "cut" ? writes.cut(segment, 3) : discard(writes, segment);
      await sleep(20);
      assert.ok(room, how);
      gate.resolve();
      await Promise.all([waiting, dropping]);
    });
  }
});

test("what is dropped is let go once, what is being written only after that", async () => {
  for (const how of ["discard", "cut"] as const) {
    await setUp({}, async ({ writes, counts, add }) => {
      const gate = Promise.withResolvers<void>();
      counts.gate = gate.promise;
      const segment = new Segment(".", 0);
      const released: string[] = [];
      const heldAs = (name: string): HeldBytes => ({
        hold: () => {},
        release: () => released.push(name),
      });
      add(segment, "abc", heldAs("written"));
      const reached = writes.reach(segment, 3).then(() => "written", String);
      add(segment, "def", heldAs("dropped"));
      const dropping = how === "cut" ? writes.cut(segment, 3) : discard(writes, segment);
      await sleep(5);
      assert.deepEqual(released, ["dropped"], how);
      gate.resolve();
      await dropping;
      assert.deepEqual(released, ["dropped", "written"], how);
      assert.match(await reached, how === "cut" ? /^written$/ : /was dropped/);
    });
  }
});

test("a full disk is waited out, but not once the log closes", async () => {
  await setUp({}, async ({ writes, counts, failures, root, add }) => {
    const segment = new Segment(".", 0);
    counts.failWrite = "ENOSPC";
    add(segment, "abc");
    // A reader is told at once: nobody knows how long it takes.
    await assert.rejects(writes.written(segment), (e) => hasCode(e, ErrorCode.DISK_FULL));
    await assert.rejects(writes.reach(segment, 3), (e) => hasCode(e, ErrorCode.DISK_FULL));
    while (writes.has(segment)) await sleep(5);
    await writes.written(segment);
    assert.equal(contentOf(root, segment), "abc");
    assert.equal(failures.length, 0);
    writes.closing();
    counts.failWrite = "ENOSPC";
    add(segment, "def");
    await assert.rejects(writes.written(segment), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
    assert.equal(failures.length, 1);
  });
});

test("a disk that fails: who waits is told, and nothing more is taken", async () => {
  await setUp({}, async ({ writes, counts, failures, add }) => {
    const segment = new Segment(".", 0);
    counts.failWrite = "EIO";
    add(segment, "abc");
    await assert.rejects(writes.reach(segment, 3), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
    assert.match(failures.map(({ message }) => message).join(), /cannot be written.*EIO/);
    add(segment, "def");
    assert.equal(writes.bytes, 0);
    await assert.rejects(writes.reach(segment, 6), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
    // Nothing is queued any more, and that does not mean that everything was written.
    await assert.rejects(writes.written(segment), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
    await writes.waitForRoom();
  });
});

test("files are fsynced in steps, and a failure of one counts", async () => {
  await setUp({ syncStepBytes: 5 }, async ({ writes, counts, failures, add }) => {
    const segment = new Segment(".", 0);
    add(segment, "abc");
    await writes.written(segment);
    assert.equal(counts.syncs, 0);
    add(segment, "def");
    await writes.written(segment);
    assert.equal(counts.syncs, 1);
    assert.ok(segment.durability.pending, "a checkpoint must not rely on steps");
    await sleep(20);
    counts.failSync = "EIO";
    add(segment, "ghijk");
    await writes.written(segment);
    while (failures.length === 0) await sleep(5);
    assert.match(failures.map(({ message }) => message).join(), /cannot be fsynced.*EIO/);
  });
});

test("after it is closed nothing is known of what waited", async () => {
  await setUp({}, async ({ writes, counts, add }) => {
    const segment = new Segment(".", 0);
    add(segment, "abc");
    writes.close();
    assert.equal(counts.writes, 0);
    for (const wait of [writes.written(segment), writes.reach(segment, 3)]) {
      await assert.rejects(wait, (e) => hasCode(e, ErrorCode.SHUTTING_DOWN));
    }
  });
});
