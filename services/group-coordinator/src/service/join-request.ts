/** The opening message of a member, checked. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { JoinOpen } from "@millrace/proto/group";
import type { AssignorName, NamePattern, Subscription } from "../group/types.ts";
import { limits } from "../limits.ts";

const invalid = (message: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, message);

const bytesOf = (text: string): number => Buffer.byteLength(text, "utf8");

/** Throws INVALID_GROUP_ID. */
export const checkGroupName = (group: string): void => {
  const bytes = bytesOf(group);
  const isFine = bytes > 0 && bytes <= limits.groupNameBytesMax && !/\p{Cc}/v.test(group);
  if (isFine) return;
  const message = `a group name has 1 to ${limits.groupNameBytesMax} bytes and no control characters`;
  throw MillraceError.refusal(
    ErrorCode.INVALID_GROUP_ID,
    `${message}: this one has ${bytes} bytes`,
  );
};

const checkName = (field: string, text: string): void => {
  const bytes = bytesOf(text);
  if (bytes > limits.nameBytesMax)
    throw invalid(`${field} has ${bytes} bytes: at most ${limits.nameBytesMax}`);
};

const timeoutOf = (
  field: string,
  wanted: number,
  usual: number,
  [least, most]: readonly [number, number],
): number => {
  if (wanted === 0) return usual;
  if (wanted >= least && wanted <= most) return wanted;
  throw invalid(`${field} is ${wanted}: it is between ${least} and ${most}`);
};

const assignorOf = (name: string): AssignorName | undefined => {
  if (name === "") return undefined;
  if (name === "uniform" || name === "range") return name;
  const message = `no assignor ${name}: there are uniform and range`;
  throw MillraceError.refusal(ErrorCode.UNSUPPORTED_ASSIGNOR, message);
};

const present = (text: string): string | undefined => (text === "" ? undefined : text);

/** What a member asks for. Throws what is wrong with it. */
export const subscriptionOf = (
  open: JoinOpen,
  clientHost: string,
  patternOf: (text: string) => NamePattern,
): Subscription => {
  checkGroupName(open.group);
  checkName("client_id", open.clientId);
  checkName("instance_id", open.instanceId);
  checkName("rack_id", open.rackId);
  if (open.topics.length > limits.topicsMax)
    throw invalid(`${open.topics.length} topics: at most ${limits.topicsMax}; use a pattern`);
  for (const topic of open.topics) checkName("a topic name", topic);
  const pattern = present(open.topicPattern);
  return {
    instanceId: present(open.instanceId),
    rackId: present(open.rackId),
    ...{ clientId: open.clientId, clientHost },
    topics: [...new Set(open.topics)].sort(),
    pattern: pattern === undefined ? undefined : patternOf(pattern),
    assignor: assignorOf(open.assignor),
    sessionTimeoutMs: timeoutOf(
      "session_timeout_ms",
      open.sessionTimeoutMs,
      limits.sessionTimeoutMs,
      [limits.sessionTimeoutMsMin, limits.sessionTimeoutMsMax],
    ),
    rebalanceTimeoutMs: timeoutOf(
      "rebalance_timeout_ms",
      open.rebalanceTimeoutMs,
      limits.rebalanceTimeoutMs,
      [limits.rebalanceTimeoutMsMin, limits.rebalanceTimeoutMsMax],
    ),
  };
};
