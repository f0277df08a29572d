import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { divergenceOf, type EpochLog, endOf, hasEmptyEpoch, repairOf } from "./agreement.ts";

/** A log of batches of one record: their epochs, and where it was written. */
class ModelLog implements EpochLog {
  logStartOffset = 0;
  /** By offset: `epoch:number`, where the number tells histories apart. */
  readonly batches: { readonly epoch: number; readonly text: string }[] = [];
  /** Epochs that were led, also those without a batch. */
  readonly starts: { readonly epoch: number; readonly offset: number }[] = [];

  get logEndOffset(): number {
    return this.batches.length;
  }

  get leaderEpoch(): number {
    return this.starts.at(-1)?.epoch ?? 0;
  }

  epochOfOffset(offset: number): number {
    return this.starts.findLast((start) => start.offset <= offset)?.epoch ?? 0;
  }

  lead(epoch: number): void {
    if (epoch > this.leaderEpoch) this.starts.push({ epoch, offset: this.logEndOffset });
  }

  /** Forgets epochs that ended before the log's start, as `EpochCache` does. */
  deleteBefore(offset: number): void {
    this.logStartOffset = offset;
    const first = this.starts.findLastIndex((start) => start.offset < offset);
    if (first > 0) this.starts.splice(0, first);
  }

  append(epoch: number, text: string): void {
    this.lead(epoch);
    this.batches.push({ epoch, text });
  }

  truncate(offset: number): void {
    this.batches.length = Math.min(this.batches.length, offset);
    while ((this.starts.at(-1)?.offset ?? -1) >= offset) this.starts.pop();
  }

  endOffsetForEpoch(epoch: number) {
    const last = this.starts.at(-1);
    if (last === undefined || epoch > last.epoch) return undefined;
    const next = this.starts.findIndex((start) => start.epoch > epoch);
    const known = this.starts[(next < 0 ? this.starts.length : next) - 1];
    const endOffset = next < 0 ? this.logEndOffset : (this.starts[next]?.offset ?? 0);
    return {
      leaderEpoch: known?.epoch ?? epoch,
      endOffset: Math.max(endOffset, this.logStartOffset),
    };
  }
}

/** Follows until the logs agree, as a follower does. Returns how often it was told to repair. */
const follow = (leader: ModelLog, follower: ModelLog): number => {
  for (let repairs = 0; ; repairs += 1) {
    if (hasEmptyEpoch(follower)) follower.truncate(follower.logEndOffset);
    const divergence = divergenceOf(leader, endOf(follower));
    if (divergence === undefined) return repairs;
    assert.ok(repairs < 100, "it does not come to an end");
    const repair = repairOf(follower, divergence, undefined);
    if (repair.kind === "truncate") {
      assert.ok(repair.offset < follower.logEndOffset, "a truncation takes something away");
      follower.truncate(repair.offset);
    } else {
      follower.starts.length = 0;
      follower.batches.length = 0;
      for (let i = 0; i < repair.offset; i += 1) follower.batches.push({ epoch: 0, text: "gone" });
      follower.logStartOffset = repair.offset;
    }
  }
};

/** Where the logs begin to differ, deleted or not. Of what is gone either may be said. */
const commonEnd = (a: ModelLog, b: ModelLog, isGoneTheSame: boolean): number => {
  const end = Math.min(a.logEndOffset, b.logEndOffset);
  for (let i = 0; i < end; i += 1) {
    const texts = [a.batches[i]?.text, b.batches[i]?.text];
    const isSame = texts.includes("gone") ? isGoneTheSame : texts[0] === texts[1];
    if (!isSame) return i;
  }
  return end;
};

test("a follower that has a beginning of its leader's log agrees", () => {
  const leader = new ModelLog();
  for (const epoch of [1, 1, 3]) leader.append(epoch, `${epoch}`);
  assert.equal(divergenceOf(leader, { logEndOffset: 0, lastEpoch: undefined }), undefined);
  assert.equal(divergenceOf(leader, { logEndOffset: 1, lastEpoch: 1 }), undefined);
  assert.equal(divergenceOf(leader, { logEndOffset: 2, lastEpoch: 1 }), undefined);
  assert.equal(divergenceOf(leader, { logEndOffset: 3, lastEpoch: 3 }), undefined);
});

test("an epoch that the leader does not know is cut, however long it is", () => {
  const leader = new ModelLog();
  for (const epoch of [1, 1, 3]) leader.append(epoch, `${epoch}`);
  const follower = new ModelLog();
  for (const epoch of [1, 1, 2, 2]) follower.append(epoch, `${epoch}`);
  assert.deepEqual(divergenceOf(leader, endOf(follower)), {
    ...{ leaderEpoch: 1, endOffset: 2, logStartOffset: 0 },
  });
  assert.equal(follow(leader, follower), 1);
  assert.equal(follower.logEndOffset, 2);
});

test("a follower that is ahead of its leader in one epoch cuts what the leader lacks", () => {
  const leader = new ModelLog();
  leader.append(1, "a");
  const follower = new ModelLog();
  for (const text of ["a", "b"]) follower.append(1, text);
  assert.equal(follow(leader, follower), 1);
  assert.equal(follower.logEndOffset, 1);
});

test("a follower that ends before its leader's log begins anew where that begins", () => {
  const leader = new ModelLog();
  for (let i = 0; i < 9; i += 1) leader.append(1, `${i}`);
  leader.logStartOffset = 5;
  const follower = new ModelLog();
  follower.append(1, "0");
  const divergence = divergenceOf(leader, endOf(follower));
  assert.equal(divergence?.logStartOffset, 5);
  assert.deepEqual(repairOf(follower, divergence ?? assert.fail(), undefined), {
    kind: "rebuild",
    offset: 5,
  });
  // Once it has, it holds nothing and begins there.
  assert.equal(divergenceOf(leader, { logEndOffset: 5, lastEpoch: undefined }), undefined);
});

test("what would be cut below a follower's log start is begun anew", () => {
  const leader = new ModelLog();
  for (const epoch of [1, 4, 4, 4]) leader.append(epoch, `${epoch}`);
  const follower = new ModelLog();
  for (const epoch of [1, 2, 2, 2]) follower.append(epoch, `${epoch}`);
  follower.logStartOffset = 3;
  const divergence = divergenceOf(leader, endOf(follower)) ?? assert.fail();
  assert.deepEqual(repairOf(follower, divergence, undefined), { kind: "rebuild", offset: 0 });
});

test("a follower that differs in what its leader has deleted begins anew", () => {
  const leader = new ModelLog();
  for (const epoch of [1, 2, 2, 2, 2]) leader.append(epoch, `${epoch}`);
  leader.deleteBefore(4);
  const follower = new ModelLog();
  for (const epoch of [1, 1, 1, 1]) follower.append(epoch, `${epoch}`);
  for (const more of [0, 1, 2]) {
    for (let i = 0; i < more; i += 1) follower.append(1, "1");
    const divergence = divergenceOf(leader, endOf(follower)) ?? assert.fail();
    assert.deepEqual(repairOf(follower, divergence, undefined), { kind: "rebuild", offset: 4 });
  }
});

test("a leader that began anew vouches for nothing before that", () => {
  const leader = new ModelLog();
  for (let i = 0; i < 4; i += 1) leader.batches.push({ epoch: 0, text: "gone" });
  leader.logStartOffset = 4;
  leader.append(5, "5");
  const follower = new ModelLog();
  for (const epoch of [1, 1, 1, 1]) follower.append(epoch, `${epoch}`);
  const divergence = divergenceOf(leader, endOf(follower)) ?? assert.fail();
  assert.deepEqual(repairOf(follower, divergence, undefined), { kind: "rebuild", offset: 4 });
});

test("what is committed below the log of a leader that began anew need not agree", () => {
  const leader = new ModelLog();
  for (let i = 0; i < 4; i += 1) leader.batches.push({ epoch: 0, text: "gone" });
  leader.logStartOffset = 4;
  const follower = new ModelLog();
  for (const epoch of [1, 1, 1, 1]) follower.append(epoch, `${epoch}`);
  for (const _ of ["ends there", "ends behind"]) {
    const divergence = divergenceOf(leader, endOf(follower)) ?? assert.fail();
    assert.deepEqual(repairOf(follower, divergence, 4), { kind: "keep", offset: 4 });
    // Below is something that may not be committed; behind is something that is, and is not there.
    for (const committedEnd of [3, 5]) {
      const { kind } = repairOf(follower, divergence, committedEnd);
      assert.equal(kind, "rebuild", `${committedEnd}`);
    }
    leader.append(5, "5");
    follower.append(1, "1");
  }
});

test("an epoch that ended where its leader's log starts is cut there", () => {
  const leader = new ModelLog();
  for (const epoch of [1, 1, 2, 2]) leader.append(epoch, `${epoch}`);
  leader.deleteBefore(2);
  const follower = new ModelLog();
  for (const epoch of [1, 1, 1]) follower.append(epoch, `${epoch}`);
  const divergence = divergenceOf(leader, endOf(follower)) ?? assert.fail();
  assert.deepEqual(repairOf(follower, divergence, undefined), { kind: "truncate", offset: 2 });
  follower.truncate(2);
  assert.equal(divergenceOf(leader, endOf(follower)), undefined);
});

test("an epoch in which a follower led and has nothing is cut off before it follows", () => {
  const leader = new ModelLog();
  leader.append(1, "a");
  leader.lead(3);
  const follower = new ModelLog();
  follower.lead(2);
  assert.equal(hasEmptyEpoch(follower), true);
  assert.equal(follow(leader, follower), 0);
  assert.deepEqual([follower.leaderEpoch, hasEmptyEpoch(follower)], [0, false]);
  assert.equal(hasEmptyEpoch(new ModelLog()), false);
});

test("a follower that holds nothing behind its leader's end begins anew", () => {
  const leader = new ModelLog();
  leader.append(1, "a");
  const divergence = divergenceOf(leader, { logEndOffset: 3, lastEpoch: undefined });
  assert.deepEqual(divergence, { leaderEpoch: 0, endOffset: 1, logStartOffset: 0 });
});

/** Three replicas, of which one leads at a time and some follow. */
const step = fc.record({
  kind: fc.constantFrom("lead", "append", "append", "copy", "copy", "delete"),
  replica: fc.nat(2),
  count: fc.integer({ min: 1, max: 4 }),
});

test("two logs of one history always come to agree, on all that they had in common", () => {
  let longest = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
      const logs = [new ModelLog(), new ModelLog(), new ModelLog()];
      let leader = logs[0] ?? assert.fail();
      let epoch = 1;
      let number = 0;
      leader.lead(epoch);
      for (const { kind, replica, count } of steps) {
        const log = logs[replica] ?? assert.fail();
        if (kind === "lead") {
          // Anybody: nothing is assumed of who was in sync.
          leader = log;
          epoch += 1;
          leader.lead(epoch);
        } else if (kind === "append") {
          for (let i = 0; i < count; i += 1) leader.append(epoch, `${epoch}:${number++}`);
        } else if (kind === "delete") {
          const { logEndOffset, logStartOffset } = leader;
          leader.deleteBefore(Math.min(logStartOffset + 2 * count, logEndOffset));
        } else if (log !== leader) {
          // Of what a follower has deleted nothing can be kept.
          const end = commonEnd(leader, log, false);
          const common = end < log.logStartOffset ? 0 : end;
          follow(leader, log);
          // Nothing that both had is lost, and what is left is the leader's.
          assert.ok(log.logEndOffset >= common, `kept ${log.logEndOffset} of ${common}`);
          assert.equal(commonEnd(leader, log, true), log.logEndOffset);
          for (let i = 0; i < count; i += 1) {
            const next = leader.batches[log.logEndOffset];
            if (next !== undefined) log.append(next.epoch, next.text);
          }
          longest = Math.max(longest, log.logEndOffset);
        }
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(longest > 10);
});
