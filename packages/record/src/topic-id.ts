declare const brand: unique symbol;

/**
 * Topic id: 32 lowercase hex digits of 16 random bytes; `topics` made again under a name differ in
 * it.
 */
export type TopicId = string & { readonly [brand]: "TopicId" };

/** Topic id of 16 bytes. Throws RangeError for another length. */
export const topicIdOf = (bytes: Uint8Array): TopicId => {
  if (bytes.length !== 16) throw new RangeError(`topic id must be 16 bytes, got ${bytes.length}`);
  return Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString("hex") as TopicId;
};

/** The 16 bytes of a topic id. */
export const topicIdBytes = (id: TopicId): Uint8Array => Buffer.from(id, "hex");
