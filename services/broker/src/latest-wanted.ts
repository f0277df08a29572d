/** What a GetLatest asks for. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { GetLatestRequest } from "@millrace/proto/broker";
import { bytesOfKey, keyOf, partitionOfKey } from "@millrace/record";
import { limits } from "./limits.ts";

/** Keys, or the keys that begin with something. */
export type Wanted =
  | { readonly kind: "keys"; readonly keys: readonly string[] }
  | {
      readonly kind: "prefix";
      readonly prefix: string;
      /** The first key that may be answered. */
      readonly from: string;
      /** Records of one answer. */
      readonly limit: number;
    };

const invalid = (what: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, what);

/** So that a token is not empty, which means the first page. */
const tokenBegin = "\u0001";

/** The token of the page behind a key. */
export const pageTokenOf = (last: string): Uint8Array => bytesOfKey(`${tokenBegin}${last}`);

/** The first key behind that of a token: the next one in the order of bytes. */
const pageFrom = (token: string): string | undefined =>
  token.startsWith(tokenBegin) ? `${token.slice(tokenBegin.length)}\0` : undefined;

/** Throws INVALID_REQUEST for a request that asks for nothing, or for too much. */
export const wantedOf = (request: GetLatestRequest): Wanted => {
  const { keyPrefix, limit, pageToken } = request;
  const { latestKeysMax, latestRecordsMax } = limits;
  if (keyPrefix === undefined) {
    const keys = request.keys.map(keyOf);
    if (keys.length === 0) throw invalid("no keys and no key_prefix: send one of them");
    if (keys.length > latestKeysMax) {
      throw invalid(`${keys.length} keys in one call: send at most ${latestKeysMax}`);
    }
    if (pageToken.length > 0) throw invalid("a page_token goes with a key_prefix: leave it out");
    return { kind: "keys", keys };
  }
  if (request.keys.length > 0) throw invalid("keys and a key_prefix: send one of them");
  if (limit > latestRecordsMax) {
    throw invalid(`limit is ${limit}: send at most ${latestRecordsMax}, and ask for more pages`);
  }
  const prefix = keyOf(keyPrefix);
  const from = pageToken.length === 0 ? prefix : pageFrom(keyOf(pageToken));
  if (from?.startsWith(prefix) !== true) {
    throw invalid("the page_token belongs to another key_prefix: begin again without one");
  }
  return { kind: "prefix", prefix, from, limit: limit || latestRecordsMax };
};

/** The partition that default partitioners put the keys into. Throws INVALID_REQUEST. */
export const partitionFor = (wanted: Wanted, partitionCount: number): number => {
  if (partitionCount === 1) return 0;
  if (wanted.kind === "prefix") {
    throw invalid(
      `keys with a prefix are in all ${partitionCount} partitions: name one after the other`,
    );
  }
  const [first = 0, ...others] = wanted.keys.map((key) =>
    partitionOfKey(bytesOfKey(key), partitionCount),
  );
  if (others.every((partition) => partition === first)) return first;
  throw invalid("the keys are of several partitions: send a call for each");
};
