/**
 * Messages made from their descriptors: of the right fields with values at which servers go wrong.
 * They are written to the wire by hand, so that a field may come twice, a oneof may have several
 * cases, and a string may be no UTF-8.
 */
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { BatchBuilder, crcOf } from "@millrace/record";
import type { SeededRandom } from "@millrace/sim";

/** What exists on the server, and so is worth naming. */
export interface Vocabulary {
  readonly topics: readonly string[];
  /** Topics that come and go. */
  readonly fleeting: readonly string[];
  readonly topicIds: readonly Uint8Array[];
}

/** How well a message behaves: `polite` ones are mostly accepted. */
export type Manners = "polite" | "rude";

const numbers: readonly bigint[] = [
  ...[0n, 1n, 2n, 3n, 10n, 127n, 128n, 65_536n, -1n],
  ...[2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n],
  ...[2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n],
];

const strangeTexts: readonly string[] = [
  ...["", ".", "..", "a/b", "../../etc/passwd", "a\u0000b", "\n", "тема", "话题", " ", "\ud800"],
  ...["x".repeat(249), "x".repeat(250), "x".repeat(3_000), "__proto__", "constructor", "%00", "{}"],
  ...["grpc.health.v1.Health", "millrace.broker.v1.LogService", "millrace/broker/v1/log.proto"],
];

const configs: readonly (readonly [string, string])[] = [
  ...([
    ["retention.ms", "-1"],
    ["retention.ms", "1"],
    ["retention.bytes", "1000"],
    ["segment.bytes", "1024"],
    ["segment.ms", "1"],
    ["segment.ms", "9007199254740991"],
    ["flush.policy", "interval"],
    ["flush.policy", "none"],
    ["flush.policy", "commit"],
    ["flush.ms", "1"],
    ["index.interval.bytes", "1"],
    ["file.delete.delay.ms", "0"],
    ["cleanup.policy", ""],
    ["cleanup.policy", "compact"],
    ["max.message.bytes", "64"],
    ["min.insync.replicas", "32"],
    ["message.timestamp.after.max.ms", "0"],
    ["retention.ms", "1e3"],
    ["retention.ms", "9007199254740993"],
    ["unclean.leader.election.enable", "true"],
    ["__proto__", "x"],
    ["", ""],
  ] as const),
];

/** Topics of so many partitions are made; more would be a load test. */
const partitionsMax = 3n;
const depthMax = 4;

const bodyOf = (dice: SeededRandom): Buffer => {
  const builder = new BatchBuilder();
  for (let i = dice.between(1, 3); i > 0; i -= 1) {
    const headers = dice.chance(0.2) ? [{ name: "h", value: Buffer.from("v") }] : [];
    const value = Buffer.alloc(dice.pick([0, 1, 10, 300]), i);
    builder.append({ value, timestampMs: Date.now(), headers });
  }
  const producer = { producerId: dice.below(4), producerEpoch: dice.below(3), baseSequence: 0 };
  return Buffer.from(builder.finishPlain(dice.chance(0.2) ? producer : undefined));
};

export class Grammar {
  readonly #dice: SeededRandom;
  readonly #words: Vocabulary;
  readonly #manners: Manners;
  /**
   * Bytes that the message may still grow by: sometimes past what a method takes, never a flood.
   */
  #budgetBytes: number;
  /** Of two fields that exclude each other, the one that a polite message lacks. */
  readonly #without: string;
  #names: readonly string[] = [];

  constructor(dice: SeededRandom, words: Vocabulary, manners: Manners) {
    this.#dice = dice;
    this.#words = words;
    this.#manners = manners;
    this.#budgetBytes = dice.chance(0.002) ? 1_200_000 : 30_000;
    this.#without = dice.pick(["records", "batch"]);
  }

  /** Bytes of a message. `first`: it opens a stream, or is the only one. */
  message(desc: DescMessage, first = true, depth = 0): Uint8Array {
    if (desc.typeName === "millrace.storage.v1.RecordBatch" && this.#dice.chance(0.8))
      return this.#batch();
    if (depth === 0) {
      // Mostly what comes and goes is made and deleted: the others are there to be used.
      const changing = /^(Create|Delete)Topic/.test(desc.name);
      const { topics, fleeting } = this.#words;
      this.#names = changing !== this.#dice.chance(0.05) ? fleeting : topics;
    }
    const writer = new BinaryWriter();
    for (const field of desc.fields) {
      const times = this.#times(field, first, depth);
      for (let i = 0; i < times && this.#budgetBytes > 0; i += 1) this.#field(writer, field, depth);
    }
    if (this.#rude(0.1)) this.#unknown(writer);
    return writer.finish();
  }

  /** True sometimes when rude. */
  #rude(chance: number): boolean {
    return this.#manners === "rude" && this.#dice.chance(chance);
  }

  #times(field: DescField, first: boolean, depth: number): number {
    const dice = this.#dice;
    if (this.#rude(0.05)) return dice.below(3);
    if (field.name === "open") return first ? 1 : 0;
    // There is none yet: a stream that asks for one says nothing else.
    if (field.name === "required_features") return this.#rude(0.05) ? 1 : 0;
    if (field.name === this.#without && this.#manners === "polite") return 0;
    if (field.name === "topic" || field.name === "name" || field.name === "spec") return 1;
    if (field.oneof !== undefined) return dice.chance(0.4) ? 1 : 0;
    if (field.fieldKind === "list" || field.fieldKind === "map") {
      if (this.#rude(0.02) && depth < 2) return dice.pick([100, 1_000, 5_000]);
      return dice.below(4);
    }
    if (field.fieldKind === "message") return dice.chance(0.8) && depth < depthMax ? 1 : 0;
    return dice.chance(this.#manners === "polite" ? 0.3 : 0.6) ? 1 : 0;
  }

  #field(writer: BinaryWriter, field: DescField, depth: number): void {
    this.#budgetBytes -= 8;
    const { fieldKind, number } = field;
    const tag = (type: WireType): BinaryWriter => writer.tag(number, type);
    if (fieldKind === "map") tag(WireType.LengthDelimited).bytes(this.#entry());
    else if (fieldKind === "message" || (fieldKind === "list" && field.listKind === "message")) {
      if (depth >= depthMax || field.message === undefined) return;
      tag(WireType.LengthDelimited).bytes(this.message(field.message, true, depth + 1));
    } else if (fieldKind === "enum" || (fieldKind === "list" && field.listKind === "enum")) {
      const known = field.enum?.values.map((value) => value.number) ?? [0];
      const wild = this.#rude(0.3);
      const value = wild ? this.#number(field.name) : BigInt(this.#dice.pick(known));
      tag(WireType.Varint).int64(BigInt.asIntN(64, value));
    } else if (field.scalar !== undefined) this.#scalar(writer, field, field.scalar);
  }

  #scalar(writer: BinaryWriter, { name, number }: DescField, scalar: ScalarType): void {
    const tag = (type: WireType): BinaryWriter => writer.tag(number, type);
    switch (scalar) {
      case ScalarType.STRING:
        tag(WireType.LengthDelimited).bytes(this.#text(name));
        return;
      case ScalarType.BYTES:
        tag(WireType.LengthDelimited).bytes(this.#bytes(name));
        return;
      case ScalarType.FIXED64:
      case ScalarType.SFIXED64:
      case ScalarType.DOUBLE:
        tag(WireType.Bit64).fixed64(BigInt.asUintN(64, this.#number(name)));
        return;
      case ScalarType.FIXED32:
      case ScalarType.SFIXED32:
      case ScalarType.FLOAT:
        tag(WireType.Bit32).fixed32(Number(BigInt.asUintN(32, this.#number(name))));
        return;
      default:
        tag(WireType.Varint).int64(BigInt.asIntN(64, this.#number(name)));
    }
  }

  #number(name: string): bigint {
    const dice = this.#dice;
    if (name === "partition_count") {
      const wild = this.#rude(0.3) ? dice.pick(numbers) : 1n;
      return wild > 10_000n || wild < 0n ? wild : BigInt(dice.below(Number(partitionsMax) + 1));
    }
    if (this.#manners === "rude" && dice.chance(0.5)) return dice.pick(numbers);
    if (name === "partition" || name === "offset") return BigInt(dice.below(2));
    return BigInt(dice.below(name.endsWith("bytes") || name.endsWith("bytes_max") ? 100_000 : 4));
  }

  #text(name: string): Buffer {
    const dice = this.#dice;
    if (name === "cluster_id" || name === "page_token") {
      if (!this.#rude(0.3)) return Buffer.alloc(0);
    } else if (!this.#rude(0.5)) return Buffer.from(dice.pick(this.#names));
    if (this.#rude(0.05)) return this.#large(0x61);
    if (this.#rude(0.1)) return Buffer.from(dice.bytes(dice.below(20)));
    return Buffer.from(dice.pick(strangeTexts));
  }

  #bytes(name: string): Buffer {
    const dice = this.#dice;
    if (name === "topic_id") {
      // Name and id together are mostly two topics, which is refused.
      if (!this.#rude(0.4))
        return dice.chance(0.7) ? Buffer.alloc(0) : Buffer.from(dice.pick(this.#words.topicIds));
      return Buffer.from(dice.bytes(dice.pick([0, 1, 15, 16, 17, 1_000])));
    }
    if (this.#rude(0.02)) return this.#large(7);
    return Buffer.from(dice.bytes(dice.below(30)));
  }

  #large(fill: number): Buffer {
    const bytes = Math.min(this.#budgetBytes, this.#dice.pick([3_000, 70_000, 1_100_000]));
    this.#budgetBytes -= bytes;
    return Buffer.alloc(Math.max(0, bytes), fill);
  }

  /** A batch as a producer would send it, or nearly. */
  #batch(): Uint8Array {
    const dice = this.#dice;
    const body = bodyOf(dice);
    const crc = crcOf(body);
    if (this.#rude(0.3)) body[dice.below(body.length)] = dice.below(256);
    const writer = new BinaryWriter();
    if (dice.chance(0.7)) writer.tag(5, WireType.Bit32).fixed32(this.#rude(0.2) ? 1 : crc);
    if (!this.#rude(0.05)) writer.tag(6, WireType.LengthDelimited).bytes(body);
    return writer.finish();
  }

  #entry(): Uint8Array {
    const [key, value] = this.#dice.pick(configs);
    const writer = new BinaryWriter();
    if (!this.#rude(0.05)) writer.tag(1, WireType.LengthDelimited).bytes(Buffer.from(key));
    const text = this.#rude(0.2) ? this.#text("value") : Buffer.from(value);
    if (!this.#rude(0.05)) writer.tag(2, WireType.LengthDelimited).bytes(text);
    return writer.finish();
  }

  #unknown(writer: BinaryWriter): void {
    const dice = this.#dice;
    const number = dice.pick([1, 5, 8, 100, 536_870_911]);
    if (dice.chance(0.5)) writer.tag(number, WireType.LengthDelimited).bytes(dice.bytes(5));
    else writer.tag(number, WireType.StartGroup).tag(number, WireType.EndGroup);
  }
}
