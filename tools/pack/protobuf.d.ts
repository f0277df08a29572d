/**
 * What the types of the client say of protobuf-es. The library's own declarations need TypeScript
 * 5.7; these are their supertypes, and need nothing. `protobuf.test.ts` compares both.
 */

/** A field that the message's type does not know. */
export interface UnknownField {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}

/** Every message has these. */
export interface Message<TypeName extends string = string> {
  /** The full name of its protobuf type. */
  readonly $typeName: TypeName;
  $unknown?: UnknownField[] | undefined;
}

interface Described {
  readonly kind: string;
  readonly name: string;
}

/** A protobuf message type. */
export interface DescMessage extends Described {
  readonly kind: "message";
  readonly typeName: string;
}

/** A gRPC service. */
export interface DescService extends Described {
  readonly kind: "service";
  readonly typeName: string;
}

/** A method of a gRPC service. */
export interface DescMethod extends Described {
  readonly kind: "rpc";
  readonly localName: string;
  readonly parent: DescService;
  readonly methodKind: "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";
  readonly input: DescMessage;
  readonly output: DescMessage;
}

export type MessageShape<D extends DescMessage> = Message<D["typeName"]>;
