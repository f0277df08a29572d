/**
 * The servers of an etcd cluster: which one is asked, for how long, with which login, and what is
 * done after a failure.
 *
 * A call that changes nothing, or may be made twice, is tried on one server after the other until
 * its time is up. A write is sent once, and only to a server that has answered its last call: so a
 * server that is down, cut off or without a leader is found by a read, and costs no unknown
 * outcome.
 */
import type { Clock, Logger, Random } from "@millrace/env";
import { notDone, storeClosed, withTimeout } from "../outcome.ts";
import { failureOf, isLoginOver, isRefusal, refusalOf } from "./errors.ts";
import { type CallContext, EtcdError, type RawEtcd } from "./raw-api.ts";

export interface Server {
  readonly endpoint: string;
  readonly raw: RawEtcd;
}

export interface Credentials {
  readonly user: string;
  readonly password: string;
}

export interface EndpointsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly servers: readonly Server[];
  readonly credentials?: Credentials;
  /** A read that any server which works will answer. */
  readonly probe: Call<unknown>;
}

type Call<T> = (raw: RawEtcd, context: CallContext) => Promise<T>;

interface Login {
  readonly token: Promise<string | undefined>;
}

const deadlineExceeded = 4;

const late = (ms: number): EtcdError =>
  new EtcdError(deadlineExceeded, `no answer within ${Math.round(ms)} ms`);

export class Endpoints {
  readonly #options: EndpointsOptions;
  readonly #interrupts = new Set<(error: Error) => void>();
  #at: number;
  /** The server that is asked has answered its last call. */
  #proven = false;
  #login: Login | undefined;
  #closed = false;

  constructor(options: EndpointsOptions) {
    this.#options = options;
    // Not every client of a cluster asks the same server.
    this.#at = options.random.below(options.servers.length);
  }

  /** The server that is asked now. */
  get current(): Server {
    const server = this.#options.servers[this.#at];
    if (server === undefined) throw new RangeError(`there is no etcd endpoint ${this.#at}`);
    return server;
  }

  /** For a call that may be made twice. */
  async read<T>(timeoutMs: number, call: Call<T>): Promise<T> {
    const { clock, servers } = this.#options;
    const endMs = clock.monoMs() + timeoutMs;
    // A server that hangs leaves time for another, or for another connection to it.
    const shareMs = timeoutMs / (servers.length + 1);
    for (let attempt = 1; ; attempt += 1) {
      const server = this.current;
      const leftMs = Math.max(1, endMs - clock.monoMs());
      try {
        const value = await this.#ask(server, Math.min(shareMs, leftMs), call);
        if (server === this.current) this.#proven = true;
        return value;
      } catch (thrown) {
        this.#throwIfFinal(thrown);
        this.leave(server, thrown);
        if (clock.monoMs() >= endMs) throw failureOf(false, thrown);
        if (attempt % servers.length === 0) await this.#pause(attempt, endMs);
      }
    }
  }

  /** For a call that must not be made twice. */
  async write<T>(timeoutMs: number, call: Call<T>): Promise<T> {
    const { clock } = this.#options;
    const endMs = clock.monoMs() + timeoutMs;
    if (!this.#proven) await this.read(timeoutMs, this.#options.probe);
    for (let attempt = 0; ; attempt += 1) {
      const leftMs = endMs - clock.monoMs();
      if (leftMs <= 0) throw notDone(`no etcd server has answered within ${timeoutMs} ms: retry`);
      const server = this.current;
      const login = this.#loginAt(server, leftMs);
      const token = await login.token.catch((thrown: unknown) => {
        this.#throwIfFinal(thrown);
        this.leave(server, thrown);
        throw failureOf(false, thrown);
      });
      try {
        return await this.#timed(leftMs, () => call(server.raw, { token, timeoutMs: leftMs }));
      } catch (thrown) {
        if (this.#isLoginOver(login, thrown) && attempt === 0) continue;
        this.#throwIfFinal(thrown);
        this.leave(server, thrown);
        throw failureOf(true, thrown);
      }
    }
  }

  /** For streams: the server that is asked now, and what to send along. */
  async session(timeoutMs: number): Promise<{ server: Server; context: CallContext }> {
    const server = this.current;
    const token = await this.#loginAt(server, timeoutMs).token;
    return { server, context: { token, timeoutMs } };
  }

  /** The next calls go elsewhere, and to this server again only when it has answered a read. */
  leave(server: Server, thrown: unknown): void {
    if (server !== this.current || this.#closed) return;
    const { logger, servers } = this.#options;
    if (this.#proven) {
      logger.warn({ endpoint: server.endpoint, err: thrown }, "an etcd server does not answer");
    }
    this.#proven = false;
    this.#at = (this.#at + 1) % servers.length;
  }

  /** Logs in again for the next call, if an error says so. */
  forgetLogin(thrown: unknown): void {
    if (thrown instanceof EtcdError && isLoginOver(thrown)) this.#login = undefined;
  }

  /** Ends calls under way with CANCELLED. */
  close(): void {
    this.#closed = true;
    for (const interrupt of [...this.#interrupts]) interrupt(storeClosed("unknown"));
    for (const { raw } of this.#options.servers) raw.close();
  }

  async #ask<T>(server: Server, timeoutMs: number, call: Call<T>): Promise<T> {
    const login = this.#loginAt(server, timeoutMs);
    const context = { token: await login.token, timeoutMs };
    try {
      return await this.#timed(timeoutMs, () => call(server.raw, context));
    } catch (thrown) {
      if (!this.#isLoginOver(login, thrown)) throw thrown;
      const token = await this.#loginAt(server, timeoutMs).token;
      return await this.#timed(timeoutMs, () => call(server.raw, { token, timeoutMs }));
    }
  }

  /** Throws what another server would say as well. */
  #throwIfFinal(thrown: unknown): void {
    if (this.#closed) throw storeClosed("unknown");
    if (!(thrown instanceof EtcdError)) throw thrown;
    if (isRefusal(thrown)) throw refusalOf(thrown);
  }

  /** True once for a login that has ended: the next one is another. */
  #isLoginOver(login: Login, thrown: unknown): boolean {
    const isOver =
      this.#options.credentials !== undefined && thrown instanceof EtcdError && isLoginOver(thrown);
    if (isOver && this.#login === login) this.#login = undefined;
    return isOver;
  }

  /** One login for all calls: all servers know its token. */
  #loginAt(server: Server, timeoutMs: number): Login {
    const { credentials } = this.#options;
    if (credentials === undefined) return { token: Promise.resolve(undefined) };
    if (this.#login !== undefined) return this.#login;
    const context = { token: undefined, timeoutMs };
    const token = this.#timed(timeoutMs, () => server.raw.authenticate(credentials, context));
    const login = { token };
    this.#login = login;
    token.catch(() => {
      if (this.#login === login) this.#login = undefined;
    });
    return login;
  }

  /** Starts nothing on a closed client: nobody would hear how it failed. */
  #timed<T>(ms: number, start: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(storeClosed("none"));
    const interrupted = Promise.withResolvers<never>();
    this.#interrupts.add(interrupted.reject);
    const first = Promise.race([start(), interrupted.promise]);
    return withTimeout(this.#options.clock, ms, first, () => late(ms)).finally(() => {
      this.#interrupts.delete(interrupted.reject);
    });
  }

  async #pause(attempt: number, endMs: number): Promise<void> {
    const { clock, random } = this.#options;
    const ms = Math.min(1000, 20 * 2 ** Math.min(attempt, 6)) * (0.5 + random.float());
    await clock.sleep(Math.max(0, Math.min(ms, endMs - clock.monoMs())));
  }
}
