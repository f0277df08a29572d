/** Between the store's own types and etcd's, with every key under a root. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type {
  ICompare,
  IEvent,
  IKeyValue,
  IRangeRequest,
  IRangeResponse,
  IRequestOp,
  IResponseOp,
  ITxnRequest,
} from "etcd3";
import type {
  Compare,
  KeyRange,
  KeyValue,
  Operation,
  OperationResult,
  RangeOptions,
  WatchEvent,
} from "../api.ts";

const targets = {
  modRevision: { target: "Mod", field: "mod_revision" },
  createRevision: { target: "Create", field: "create_revision" },
  version: { target: "Version", field: "version" },
} as const;

const noBytes = new Uint8Array(0);
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A whole number of etcd's, which come as text. */
export const numberOf = (text: string): number => {
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  throw new MillraceError(ErrorCode.CORRUPT_MESSAGE, `etcd answers ${text}, not a whole number`);
};

/** The end of the range of keys with this prefix, which is not empty. */
const endOf = (prefix: Uint8Array): Buffer => {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i -= 1) {
    const byte = end[i] ?? 0;
    if (byte === 0xff) continue;
    end[i] = byte + 1;
    return end.subarray(0, i + 1);
  }
  // All keys from here on. UTF-8 has no byte 0xff, so that no prefix of ours gets here.
  return Buffer.from([0]);
};

const largestId = 2n ** 63n - 1n;

/** etcd's name of a lease, or undefined for text that cannot be one. */
export const leaseIdOf = (lease: string): string | undefined =>
  /^[1-9]\d{0,18}$/.test(lease) && BigInt(lease) < largestId ? lease : undefined;

export class Codec {
  readonly #root: Buffer;

  /** `root` is not empty. */
  constructor(root: string) {
    this.#root = Buffer.from(root);
  }

  key(key: string): Buffer {
    return Buffer.concat([this.#root, Buffer.from(key)]);
  }

  range(range: KeyRange): { key: Buffer; range_end?: Buffer } {
    if ("key" in range) return { key: this.key(range.key) };
    const key = this.key(range.prefix);
    return { key, range_end: endOf(key) };
  }

  read(range: KeyRange, { revision, limit, startAfter }: RangeOptions): IRangeRequest {
    const all = this.range(range);
    // The next key in byte order.
    const after = startAfter === undefined ? noBytes : this.key(`${startAfter}\0`);
    const isLater = "range_end" in all && Buffer.compare(after, all.key) > 0;
    return {
      ...all,
      ...(isLater ? { key: Buffer.from(after) } : {}),
      ...(limit === undefined ? {} : { limit }),
      ...(revision === undefined ? {} : { revision }),
    };
  }

  txn(
    compares: readonly Compare[],
    then: readonly Operation[],
    otherwise: readonly Operation[],
  ): ITxnRequest {
    return {
      compare: compares.map((compare) => this.#compare(compare)),
      success: then.map((operation) => this.#operation(operation)),
      failure: otherwise.map((operation) => this.#operation(operation)),
    };
  }

  #compare(compare: Compare): ICompare {
    if ("prefix" in compare) {
      const { prefix, below } = compare;
      return { ...this.range({ prefix }), result: "Less", target: "Mod", mod_revision: below };
    }
    const key = this.key(compare.key);
    if (compare.target === "value") {
      return { key, result: "Equal", target: "Value", value: Buffer.from(compare.equals) };
    }
    const { target, field } = targets[compare.target];
    return { key, result: "Equal", target, [field]: compare.equals };
  }

  #operation(operation: Operation): IRequestOp {
    if (operation.type === "range") return { request_range: this.range(operation.range) };
    if (operation.type === "delete") return { request_delete_range: this.range(operation.range) };
    const { lease, value } = operation;
    return {
      request_put: {
        key: this.key(operation.key),
        value: Buffer.from(value),
        // What cannot be a lease is sent as one that is not there, so that etcd refuses it.
        ...(lease === undefined ? {} : { lease: leaseIdOf(lease) ?? String(largestId) }),
      },
    };
  }

  results(operations: readonly Operation[], responses: readonly IResponseOp[]): OperationResult[] {
    return operations.map(({ type }, i): OperationResult => {
      const response = responses[i];
      if (type === "put") return { type };
      if (type === "range") return { type, kvs: this.kvs(response?.response_range) };
      return { type, deleted: numberOf(response?.response_delete_range.deleted ?? "") };
    });
  }

  kvs(response: IRangeResponse | undefined): KeyValue[] {
    return (response?.kvs ?? []).map((kv) => this.kv(kv));
  }

  kv(kv: IKeyValue): KeyValue {
    return {
      key: this.#keyOf(kv.key),
      value: Uint8Array.from(kv.value),
      createRevision: numberOf(kv.create_revision),
      modRevision: numberOf(kv.mod_revision),
      version: numberOf(kv.version),
      lease: kv.lease === "0" ? undefined : kv.lease,
    };
  }

  event({ type, kv }: IEvent): WatchEvent {
    return { type: type === "Put" ? "put" : "delete", kv: this.kv(kv) };
  }

  /** A key that is no text was written by somebody else: two such keys would look the same. */
  #keyOf(bytes: Buffer): string {
    try {
      return strict.decode(bytes.subarray(this.#root.length));
    } catch (cause) {
      const what = `key 0x${bytes.toString("hex")} in etcd is not UTF-8`;
      const message = `${what}: delete it: only Millrace writes under ${this.#root.toString()}`;
      throw new MillraceError(ErrorCode.CORRUPT_MESSAGE, message, { cause });
    }
  }
}
