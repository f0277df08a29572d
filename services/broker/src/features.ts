/** What this server understands of the protocol, so that clients of any version can tell. */
import { ErrorCode, MillraceError } from "@millrace/errors";

/**
 * Level of the protocol that this server speaks; told to clients. It rises with every field that
 * clients may rely on, and such a field says which level it came with.
 */
export const featureLevel = 4;

/** Names that a client may put into `required_features`. */
const known: ReadonlySet<string> = new Set([
  // Level 3: ProduceRequest.expected_end_offset.
  "conditional-append",
  // Level 4: ProduceRequest.expected_last_offset_for_key, and GetLatest.
  "latest-by-key",
]);

/**
 * Throws UNSUPPORTED_OPERATION unless this server has every feature that a client requires. Call it
 * before anything else is done for an opening: without the feature it would mean something else.
 */
export const checkFeatures = (required: readonly string[]): void => {
  const missing = required.find((name) => !known.has(name));
  if (missing === undefined) return;
  throw MillraceError.refusal(
    ErrorCode.UNSUPPORTED_OPERATION,
    `this server (feature level ${featureLevel}) has no feature ${JSON.stringify(missing.slice(0, 64))}: ` +
      "use a newer server, or do without",
  );
};
