/**
 * gRPC server reflection, v1 and v1alpha (which older tools ask for): the served descriptors, from
 * the generated code.
 */
import {
  create,
  type DescFile,
  type DescMessage,
  type DescService,
  fromBinary,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.js";
import * as v1 from "../gen/grpc/reflection/v1/reflection_pb.js";
import * as v1alpha from "../gen/grpc/reflection/v1alpha/reflection_pb.js";
import type { BidiHandler, ServiceBinding } from "./api.ts";
import { bindService } from "./method.ts";

type Request = v1.ServerReflectionRequest;
type Reply = v1.ServerReflectionResponse["messageResponse"];

const notFound = (what: string): Reply => ({
  case: "errorResponse",
  value: create(v1.ErrorResponseSchema, {
    errorCode: 5,
    errorMessage: `${what} is not served here`,
  }),
});

/** Names of everything that a file declares. */
const symbolsOf = (file: DescFile): string[] => {
  const symbols: string[] = [];
  const addMessage = (message: DescMessage): void => {
    symbols.push(message.typeName);
    for (const nested of message.nestedMessages) addMessage(nested);
    for (const nested of message.nestedEnums) symbols.push(nested.typeName);
  };
  for (const message of file.messages) addMessage(message);
  for (const declared of file.enums) symbols.push(declared.typeName);
  for (const extension of file.extensions) symbols.push(extension.typeName);
  for (const service of file.services) {
    symbols.push(service.typeName);
    for (const method of service.methods) symbols.push(`${service.typeName}.${method.name}`);
  }
  return symbols;
};

/** The descriptors that clients can ask for. */
class Descriptors {
  readonly #services: readonly DescService[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();

  constructor(services: readonly DescService[]) {
    this.#services = services;
    for (const service of services) this.#add(service.file);
    // What errors carry as `Any`: no service names it.
    this.#add(file_google_rpc_error_details);
  }

  answer(request: Request["messageRequest"]): Reply {
    switch (request.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: create(v1.ListServiceResponseSchema, {
            service: this.#services.map(({ typeName }) => ({ name: typeName })),
          }),
        };
      case "fileByFilename":
        return this.#withImports(this.#files.get(request.value), request.value);
      case "fileContainingSymbol":
        return this.#withImports(this.#symbols.get(request.value), request.value);
      case "fileContainingExtension": {
        const { containingType, extensionNumber } = request.value;
        const file = [...this.#files.values()].find((one) =>
          one.extensions.some(
            ({ extendee, number }) =>
              extendee.typeName === containingType && number === extensionNumber,
          ),
        );
        return this.#withImports(file, `extension ${extensionNumber} of ${containingType}`);
      }
      case "allExtensionNumbersOfType": {
        const extensionNumber = [...this.#files.values()].flatMap((file) =>
          file.extensions
            .filter(({ extendee }) => extendee.typeName === request.value)
            .map(({ number }) => number),
        );
        const value = { baseTypeName: request.value, extensionNumber };
        return {
          case: "allExtensionNumbersResponse",
          value: create(v1.ExtensionNumberResponseSchema, value),
        };
      }
      default:
        return notFound("an empty question");
    }
  }

  #add(file: DescFile): void {
    const name = file.proto.name;
    if (this.#files.has(name)) return;
    this.#files.set(name, file);
    for (const symbol of symbolsOf(file)) this.#symbols.set(symbol, file);
    for (const dependency of file.dependencies) this.#add(dependency);
  }

  /** A file and everything that it imports, the file itself first. */
  #withImports(file: DescFile | undefined, what: string): Reply {
    if (file === undefined) return notFound(what);
    const all = new Set<DescFile>();
    const collect = (one: DescFile): void => {
      if (all.has(one)) return;
      all.add(one);
      for (const dependency of one.dependencies) collect(dependency);
    };
    collect(file);
    const fileDescriptorProto = [...all].map(({ proto }) =>
      toBinary(FileDescriptorProtoSchema, proto),
    );
    return {
      case: "fileDescriptorResponse",
      value: create(v1.FileDescriptorResponseSchema, { fileDescriptorProto }),
    };
  }
}

/** Both versions of the service. They have the same messages under other names. */
export const reflectionServices = (services: readonly DescService[]): ServiceBinding[] => {
  const descriptors = new Descriptors([...services, v1.ServerReflection, v1alpha.ServerReflection]);
  const answerOf = (ask: Request) =>
    create(v1.ServerReflectionResponseSchema, {
      ...{ validHost: ask.host, originalRequest: ask },
      messageResponse: descriptors.answer(ask.messageRequest),
    });
  const handler: BidiHandler<Request, v1.ServerReflectionResponse> = async (stream) => {
    for (let ask = await stream.read(); ask !== undefined; ask = await stream.read()) {
      if (!stream.write(answerOf(ask))) await stream.drained();
    }
  };
  const alpha: BidiHandler<
    v1alpha.ServerReflectionRequest,
    v1alpha.ServerReflectionResponse
  > = async (stream) => {
    for (let ask = await stream.read(); ask !== undefined; ask = await stream.read()) {
      const asked = toBinary(v1alpha.ServerReflectionRequestSchema, ask);
      const answer = answerOf(fromBinary(v1.ServerReflectionRequestSchema, asked));
      const bytes = toBinary(v1.ServerReflectionResponseSchema, answer);
      const message = fromBinary(v1alpha.ServerReflectionResponseSchema, bytes);
      if (!stream.write(message)) await stream.drained();
    }
  };
  return [
    bindService(v1.ServerReflection, { serverReflectionInfo: handler }),
    bindService(v1alpha.ServerReflection, { serverReflectionInfo: alpha }),
  ];
};
