/** Appends that expect where the log ends: `ProduceRequest.expected_end_offset`. */
import type { MillraceError } from "@millrace/errors";
import type { AppendBatch } from "@millrace/log";

/**
 * The batch of an append that expects another end than the log has. A log recognises a batch that
 * it has, whatever is expected: it looks for it before it reads the CRC. Any other batch is refused
 * there, which is before the log's first effect.
 */
export const onlyIfKnown = ({ body, info }: AppendBatch, refusal: MillraceError): AppendBatch => ({
  body,
  info,
  get bodyCrc(): number {
    throw refusal;
  },
});
