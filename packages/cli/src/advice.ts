/** What errors of the client and of servers advise, in the words of the command line. */
import { standardSource } from "./profiles.ts";

/** What the client advises of its `bootstrap`, for people who gave the addresses elsewhere. */
export const adviceOf = (text: string, source: string): string => {
  if (source !== standardSource) return text.replace(/\b(set|check) bootstrap\b/, `$1 ${source}`);
  return text
    .replace(/\bset bootstrap\b/, "set --bootstrap")
    .replace(/\bcheck bootstrap, .*$/, "start a server (millrace serve), or set --bootstrap");
};

const flags: readonly (readonly [advice: RegExp, inFlags: string])[] = [
  [/raise deliveryTimeoutMs$/, "raise --delivery-timeout"],
  [/, or raise bufferBytesMax$/, ""],
  [/seek or assign again, or set onOutOfRange$/, "start again"],
  [/reset the position$/, "choose another --from"],
];

/** A text whose advice names options of the client, with the flags for them. */
export const inFlags = (text: string): string =>
  flags.reduce((now, [advice, flag]) => now.replace(advice, flag), text);
