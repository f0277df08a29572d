/** What a server or a connection said, as `ApiError`. */
import type { IncomingHttpHeaders } from "node:http";
import { isRecord } from "../json.ts";
import { ApiError } from "../kubernetes.ts";

/** Of an answer that is no `Status`, as much as helps to understand it. */
const quotedCharactersMax = 200;

const jsonOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** `Retry-After`: seconds, or a date. */
const waitOf = (header: string | undefined, wallMs: number): number | undefined => {
  if (header === undefined || header === "") return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? undefined : Math.max(0, atMs - wallMs);
};

const secondsOf = (details: unknown): number | undefined => {
  if (!isRecord(details)) return undefined;
  const seconds = details["retryAfterSeconds"];
  return typeof seconds === "number" && seconds > 0 ? seconds * 1000 : undefined;
};

/** The error of a `Status` object; `code` is that of the answer, where the object has none. */
export const statusError = (status: unknown, code: number, about: string): ApiError => {
  const said = isRecord(status) ? status : {};
  const { message, reason, details, code: own } = said;
  const text = typeof message === "string" && message !== "" ? message : `status ${code}`;
  return new ApiError(`${about}: ${text}`, {
    status: typeof own === "number" && own > 0 ? own : code,
    reason: typeof reason === "string" ? reason : "",
    retryAfterMs: secondsOf(details),
  });
};

/** The error of an answer that is not 2xx. */
export const answerError = (
  answer: { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string },
  about: string,
  wallMs: number,
): ApiError => {
  const { status, headers, text } = answer;
  const body = jsonOf(text);
  if (isRecord(body) && body["kind"] === "Status") {
    const error = statusError(body, status, about);
    const retryAfterMs = waitOf(headers["retry-after"], wallMs) ?? error.retryAfterMs;
    return new ApiError(error.message, { status, reason: error.reason, retryAfterMs });
  }
  const quoted = text.slice(0, quotedCharactersMax).trim();
  const retryAfterMs = waitOf(headers["retry-after"], wallMs);
  return new ApiError(`${about}: status ${status}: ${quoted}`, { status, retryAfterMs });
};

/** The error of a request that got no answer. */
export const connectionError = (cause: unknown, about: string): ApiError => {
  if (cause instanceof ApiError) return cause;
  const why = cause instanceof Error ? cause.message || cause.name : String(cause);
  return new ApiError(`${about}: ${why}: check that the API server is reachable`, {
    ...{ status: 0, cause },
  });
};

/** Whether a 404 is about this object, and not about its kind or its namespace. */
export const isAboutObject = (text: string, name: string): boolean => {
  const body = jsonOf(text);
  const details = isRecord(body) ? body["details"] : undefined;
  return isRecord(details) && details["name"] === name;
};
