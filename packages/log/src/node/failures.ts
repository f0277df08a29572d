/** Errors on their way out of a thread: a copy of one is of no class that anybody asks for. */
import { MillraceError } from "@millrace/errors";
import { Abandoned } from "../compaction/read-batches.ts";
import { errno } from "../files/disk-errors.ts";

export type Failure =
  | { readonly kind: "abandoned" }
  /** An error of the product; `code` is its number. */
  | { readonly kind: "refused"; readonly code: number; readonly message: string }
  /** Any other; `code` is that of the disk, or empty. */
  | { readonly kind: "failed"; readonly code: string; readonly message: string };

export const failureOf = (thrown: unknown): Failure => {
  if (thrown instanceof Abandoned) return { kind: "abandoned" };
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof MillraceError) return { kind: "refused", code: thrown.code, message };
  return { kind: "failed", code: errno(thrown), message };
};

export const errorOf = (failure: Failure): Error => {
  if (failure.kind === "abandoned") return new Abandoned();
  const { code, message } = failure;
  if (failure.kind === "refused") return new MillraceError(failure.code, message);
  return Object.assign(new Error(message), code === "" ? {} : { code });
};
