/** Text and JSON: what most keys and values are. */

const textOf = ({ buffer, byteOffset, byteLength }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString();

/** A `Serializer` of anything that JSON can say. */
export const jsonSerializer = (data: unknown): string => {
  const text: string | undefined = JSON.stringify(data);
  if (text !== undefined) return text;
  throw new TypeError(`JSON has no form of a ${typeof data}`);
};

/** A `Deserializer` of JSON. */
export const jsonDeserializer = (bytes: Uint8Array): unknown => JSON.parse(textOf(bytes));

/** A `Deserializer` of UTF-8. */
export const textDeserializer = (bytes: Uint8Array): string => textOf(bytes);
