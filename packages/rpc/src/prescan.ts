/**
 * Counts the objects that a request would become, before it is decoded. Two bytes on the wire can
 * make an object of a hundred, so a bound on bytes alone bounds neither memory nor time.
 */
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** Most elements of lists and maps, and messages, in one request. */
export const elementsMax = 50_000;
/** Most levels of nested messages. */
export const depthMax = 16;

type Verdict = "ok" | "malformed" | "too_many";

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** A cursor over wire bytes; a length that points past its message ends the scan. */
class Scanner {
  readonly #bytes: Uint8Array;
  #elements = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  message(desc: DescMessage, start: number, end: number, depth: number): Verdict {
    if (depth > depthMax) return "too_many";
    const fields = fieldsOf(desc);
    let at = start;
    while (at < end) {
      const tagEnd = this.#skipVarint(at, end);
      if (tagEnd < 0) return "malformed";
      const tag = this.#smallVarint(at, tagEnd);
      const type = tag & 7;
      if (type === wire.varint) at = this.#skipVarint(tagEnd, end);
      else if (type === wire.fixed64) at = tagEnd + 8;
      else if (type === wire.fixed32) at = tagEnd + 4;
      else if (type === wire.bytes) {
        const lengthEnd = this.#skipVarint(tagEnd, end);
        if (lengthEnd < 0) return "malformed";
        const length = this.#smallVarint(tagEnd, lengthEnd);
        at = lengthEnd + length;
        if (length < 0 || at > end) return "malformed";
        const verdict = this.#field(fields.get(tag >>> 3), lengthEnd, at, depth);
        if (verdict !== "ok") return verdict;
        continue;
      } else return "malformed";
      if (at < 0 || at > end) return "malformed";
      if (fields.get(tag >>> 3)?.fieldKind === "list" && this.#count(1)) return "too_many";
    }
    return "ok";
  }

  /** A length-delimited field. */
  #field(field: DescField | undefined, start: number, end: number, depth: number): Verdict {
    if (field === undefined) return "ok";
    const nested = messageOf(field);
    if (nested !== undefined) {
      return this.#count(1) ? "too_many" : this.message(nested, start, end, depth + 1);
    }
    if (field.fieldKind === "map") return this.#count(1) ? "too_many" : "ok";
    if (field.fieldKind !== "list") return "ok";
    const text =
      field.listKind === "scalar" &&
      (field.scalar === ScalarType.BYTES || field.scalar === ScalarType.STRING);
    // Packed numbers have at least a byte each.
    return this.#count(text ? 1 : end - start) ? "too_many" : "ok";
  }

  /** True above the bound. */
  #count(elements: number): boolean {
    this.#elements += elements;
    return this.#elements > elementsMax;
  }

  /** Position after a varint, or -1. */
  #skipVarint(start: number, end: number): number {
    for (let at = start; at < end && at < start + 10; at += 1) {
      if ((this.#bytes[at] ?? 0) < 0x80) return at + 1;
    }
    return -1;
  }

  /** Value of the varint; -1 above 32 bits. */
  #smallVarint(start: number, end: number): number {
    let value = 0;
    for (let at = end - 1; at >= start; at -= 1)
      value = value * 128 + ((this.#bytes[at] ?? 0) & 0x7f);
    return value > 0xffffffff ? -1 : value;
  }
}

const messageOf = (field: DescField): DescMessage | undefined => {
  if (field.fieldKind === "message") return field.message;
  if (field.fieldKind === "list" && field.listKind === "message") return field.message;
  return undefined;
};

const known = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();

const fieldsOf = (desc: DescMessage): ReadonlyMap<number, DescField> => {
  const found = known.get(desc);
  if (found !== undefined) return found;
  const fields = new Map(desc.fields.map((field) => [field.number, field] as const));
  known.set(desc, fields);
  return fields;
};

/**
 * Whether `bytes` can be decoded as `desc` within the limits. Takes linear time and little memory.
 */
export const prescan = (desc: DescMessage, bytes: Uint8Array): Verdict =>
  new Scanner(bytes).message(desc, 0, bytes.length, 0);
