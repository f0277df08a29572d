/** What the tests of the codecs share: random messages, and the generated code as the judge. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import { encodeStoredPrefix } from "../batch.ts";
import type { WirePartitionError } from "./messages.ts";

/** Messages of each kind: over a million in all. */
const rounds = Number(process.env["MILLRACE_CODEC_MESSAGES"] ?? 260_000);

/** A small seeded generator: the same messages in every run. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  bits(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  below(bound: number): number {
    return this.bits() % bound;
  }

  /** Small, large and boundary values alike. */
  number(max: number): number {
    const kind = this.below(5);
    if (kind === 0) return 0;
    if (kind === 1) return this.below(Math.min(max, 300) + 1);
    if (kind === 2) return max;
    if (kind === 3) return Math.min(max, 2 ** this.below(53) - 1);
    return Math.floor((this.bits() / 2 ** 32) * max);
  }

  maybe<T>(make: () => T): T | undefined {
    return this.below(2) === 0 ? undefined : make();
  }

  bytes(lengthMax: number): Buffer {
    const bytes = Buffer.alloc(this.below(lengthMax + 1));
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = this.bits();
    return bytes;
  }

  text(): string {
    const texts = ["", "t", "events.v1", "müll", "a".repeat(130), "日本語"];
    return texts[this.below(texts.length)] ?? "";
  }

  list<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.below(max + 1) }, make);
  }
}

export const u32 = 0xffff_ffff;
export const safe = Number.MAX_SAFE_INTEGER;

/** A random error of a partition. */
export const errorOf = (dice: Dice): WirePartitionError => ({
  code: dice.below(40),
  message: dice.text(),
  retryAfterMs: dice.maybe(() => dice.number(u32)),
  retriable: dice.below(2) === 1,
  refreshMetadata: dice.below(2) === 1,
  sideEffects: dice.below(2) === 1,
  actualEndOffset: dice.maybe(() => dice.number(safe)),
  actualLastOffsetForKey: dice.maybe(() => dice.number(2 ** 52) - 1),
  leaderHint: dice.maybe(() => ({
    brokerId: dice.number(u32),
    leaderEpoch: dice.number(u32),
    endpoint: dice.maybe(() => ({
      host: dice.text(),
      port: dice.number(65_535),
      listener: dice.text(),
      tls: dice.below(2) === 1,
      authority: dice.text(),
    })),
    metadataRevision: dice.number(safe),
  })),
});

/** A random stored batch, with its tag. */
export const stored = (dice: Dice): Buffer => {
  const body = dice.bytes(300);
  const fields = {
    baseOffset: dice.number(safe),
    leaderEpoch: dice.number(u32),
    appendTimeMs: dice.number(safe),
    bodyCrc: dice.bits(),
  };
  return Buffer.concat([encodeStoredPrefix(fields, body.length), body]);
};

export interface WireCodec<T> {
  encode(message: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/**
 * hand encode → generated decode → generated encode must give the same bytes; and the hand decoder
 * the same message.
 */
export const sameBytes = <T, D extends DescMessage>(
  name: string,
  codec: WireCodec<T>,
  schema: D,
  make: (dice: Dice) => T,
): void => {
  test(`${name}: ${rounds} random messages, byte for byte as the generated code`, () => {
    const dice = new Dice(0x2545f491);
    for (let i = 0; i < rounds; i += 1) {
      const message = make(dice);
      const hand = Buffer.from(codec.encode(message));
      const parsed: MessageShape<D> = fromBinary(schema, hand);
      assert.equal(parsed.$unknown, undefined);
      const generated = toBinary(schema, parsed);
      if (Buffer.compare(hand, generated) !== 0) {
        assert.fail(
          `message ${i}: ${hand.toString("hex")} is not ${Buffer.from(generated).toString("hex")}`,
        );
      }
      const again = Buffer.from(codec.encode(codec.decode(generated)));
      if (Buffer.compare(hand, again) !== 0) assert.fail(`message ${i} is decoded wrongly`);
    }
  });

  test(`${name}: damaged bytes are refused with a clear error, or read as something`, () => {
    const dice = new Dice(0x9e3779b9);
    for (let i = 0; i < Math.min(rounds, 50_000); i += 1) {
      const bytes = Buffer.from(codec.encode(make(dice)));
      for (let flips = 1 + dice.below(4); flips > 0 && bytes.length > 0; flips -= 1) {
        bytes[dice.below(bytes.length)] = dice.below(256);
      }
      const cut = bytes.subarray(
        0,
        dice.below(2) === 0 ? bytes.length : dice.below(bytes.length + 1),
      );
      try {
        codec.decode(cut);
      } catch (thrown) {
        assert.ok(hasCode(thrown, ErrorCode.INVALID_REQUEST), String(thrown));
      }
    }
  });
};
