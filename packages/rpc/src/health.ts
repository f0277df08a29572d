/** gRPC health checking, v1, as Kubernetes probes use it. */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  Health,
  HealthCheckRequestSchema,
  type HealthCheckResponse,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
  HealthCheckResponse_ServingStatus as Status,
} from "../gen/grpc/health/v1/health_pb.js";
import type { Channel, ServerStream, ServiceBinding } from "./api.ts";
import { bindService, methodOf } from "./method.ts";

/** Health of a process (`""`) and of the services in it. */
export class HealthState {
  readonly #serving = new Map<string, boolean>([["", false]]);
  readonly #listeners = new Set<() => void>();

  /** Sets one service's health, or the whole process's with `""`. */
  set(service: string, serving: boolean): void {
    this.#serving.set(service, serving);
    for (const listener of [...this.#listeners]) listener();
  }

  /** Undefined: no such service. */
  get(service: string): boolean | undefined {
    return this.#serving.get(service);
  }

  entries(): Iterable<[string, boolean]> {
    return this.#serving;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const responseOf = (serving: boolean | undefined): HealthCheckResponse => {
  if (serving === undefined) {
    return create(HealthCheckResponseSchema, { status: Status.SERVICE_UNKNOWN });
  }
  const status = serving ? Status.SERVING : Status.NOT_SERVING;
  return create(HealthCheckResponseSchema, { status });
};

const watch = async (
  state: HealthState,
  service: string,
  stream: ServerStream<never, HealthCheckResponse>,
): Promise<void> => {
  const { signal, draining } = stream.context;
  let told: Status | undefined;
  while (!signal.aborted && !draining.aborted) {
    const response = responseOf(state.get(service));
    if (response.status !== told && !stream.write(response)) await stream.drained();
    told = response.status;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        stop();
        signal.removeEventListener("abort", wake);
        draining.removeEventListener("abort", wake);
        resolve();
      };
      const stop = state.onChange(wake);
      signal.addEventListener("abort", wake);
      draining.addEventListener("abort", wake);
    });
  }
};

/** The service over a state. */
export const healthService = (state: HealthState): ServiceBinding =>
  bindService(Health, {
    check: async ({ service }) => {
      const serving = state.get(service);
      if (serving === undefined) {
        const text = `service ${service} is not served here: ask for "" or a name of List`;
        throw new MillraceError(ErrorCode.UNKNOWN_SERVICE, text);
      }
      return responseOf(serving);
    },
    list: async () =>
      create(HealthListResponseSchema, {
        statuses: Object.fromEntries(
          [...state.entries()].map(([name, serving]) => [name, responseOf(serving)]),
        ),
      }),
    watch: ({ service }, stream) => watch(state, service, stream),
  });

const check = methodOf(Health.method.check);

/** Asks whether a process serves. Rejects as any call does; every answer shows that it lives. */
export const askHealth = async (channel: Channel, timeoutMs: number): Promise<boolean> => {
  const request = create(HealthCheckRequestSchema, {});
  const { status } = await channel.unary(check, request, { timeoutMs });
  return status === Status.SERVING;
};
