/** From generated descriptors to methods and bindings. */
import {
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { ErrorCode, InvariantError, MillraceError } from "@millrace/errors";
import type { Binding, Codec, Handlers, Method, ServiceBinding } from "./api.ts";
import { depthMax, elementsMax, prescan } from "./prescan.ts";

/** Smaller requests cannot hold enough elements to matter. */
const prescanBytesMin = 16 * 1024;

/**
 * The generated codec of a message. Unknown fields are dropped; malformed bytes are
 * INVALID_REQUEST.
 */
export const messageCodec = <D extends DescMessage>(desc: D): Codec<MessageShape<D>> => ({
  encode: (message) => toBinary(desc, message),
  decode: (bytes) => {
    try {
      return fromBinary(desc, bytes, { readUnknownFields: false });
    } catch (thrown) {
      throw MillraceError.refusal(
        ErrorCode.INVALID_REQUEST,
        `invalid ${desc.typeName}: not a valid protobuf message: send what its .proto says`,
        { cause: thrown },
      );
    }
  },
});

/**
 * A codec of requests, which refuses those that would become too many objects before it decodes
 * them.
 */
const requestCodec = <D extends DescMessage>(desc: D): Codec<MessageShape<D>> => {
  const codec = messageCodec(desc);
  return {
    encode: codec.encode,
    decode: (bytes) => {
      const verdict = bytes.length < prescanBytesMin ? "ok" : prescan(desc, bytes);
      if (verdict === "ok") return codec.decode(bytes);
      const text =
        verdict === "malformed"
          ? `invalid ${desc.typeName}: not a valid protobuf message: send what its .proto says`
          : `more than ${elementsMax} elements, or ${depthMax} levels, in one ` +
            `${desc.typeName}: split the request`;
      throw MillraceError.refusal(ErrorCode.INVALID_REQUEST, text);
    },
  };
};

/** Codecs to use instead of the generated ones. */
export interface Codecs<I, O> {
  readonly input: Codec<I>;
  readonly output: Codec<O>;
}

/** Message types of a generated method. */
export type InputOf<M> = M extends { readonly input: infer I extends DescMessage }
  ? MessageShape<I>
  : never;
export type OutputOf<M> = M extends { readonly output: infer O extends DescMessage }
  ? MessageShape<O>
  : never;

const pathOf = (desc: DescMethod): string => `/${desc.parent.typeName}/${desc.name}`;

/** A method with its generated codecs. */
export const methodOf = <M extends DescMethod>(desc: M): Method<InputOf<M>, OutputOf<M>> => ({
  desc,
  path: pathOf(desc),
  kind: desc.methodKind,
  input: requestCodec(desc.input) as Codec<InputOf<M>>,
  output: messageCodec(desc.output) as Codec<OutputOf<M>>,
});

/** A method with hand-written codecs, and with them other message types. */
export const wireMethodOf = <I, O>(
  desc: DescMethod,
  codecs: Codecs<I, O>,
  bounds: Pick<Method<I, O>, "inputBytesMax"> = {},
): Method<I, O> => ({
  desc,
  path: pathOf(desc),
  kind: desc.methodKind,
  ...codecs,
  ...bounds,
});

const bindingOf = (method: Method<never, never>, handler: unknown): Binding => {
  const kind = method.kind;
  if (kind === "client_streaming") {
    throw new InvariantError(`${method.path}: client streaming is not used`);
  }
  return { kind, method, handler } as Binding;
};

/**
 * A service with its handlers, one per method, by the generated local names. `methods` replaces
 * methods, for other codecs or bounds. A missing handler throws at once, before anything is served.
 */
export const bindService = <S extends DescService, O extends object = Record<never, never>>(
  desc: S,
  handlers: Handlers<S, O>,
  methods: { readonly [K in keyof S["method"]]?: Method<unknown, unknown> } = {},
): ServiceBinding => {
  const byName = new Map<string, unknown>(Object.entries(handlers));
  const methodsByName = new Map<string, unknown>(Object.entries(methods));
  const bindings = desc.methods.map((method) => {
    const handler = byName.get(method.localName);
    if (typeof handler !== "function") {
      throw new InvariantError(`${pathOf(method)} has no handler`);
    }
    const chosen = methodsByName.get(method.localName) ?? methodOf(method);
    return bindingOf(chosen as Method<never, never>, handler);
  });
  return { desc, bindings };
};
