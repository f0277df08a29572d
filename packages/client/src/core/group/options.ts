/** Checks of what a consumer in a group is given. All throw INVALID_REQUEST. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { checkFields, inRange, oneOf, type Shape, shown } from "../checks.ts";
import type { GroupConsumerOptions, OffsetCommit } from "./types.ts";

const optionsShape: Shape<GroupConsumerOptions> = {
  group: "string",
  topics: "list?",
  topicPattern: "string?",
  from: "any?",
  autoCommit: "boolean?",
  autoCommitIntervalMs: "any?",
  onAssigned: "function?",
  onRevoked: "function?",
  onLost: "function?",
  instanceId: "string?",
  rackId: "string?",
  assignor: "any?",
  sessionTimeoutMs: "any?",
  rebalanceTimeoutMs: "any?",
  maxProcessingMs: "any?",
  concurrency: "object?",
  bufferBytesMax: "any?",
  onOutOfRange: "any?",
  isolation: "any?",
  inflatedBytesMax: "any?",
  onState: "function?",
  keyDeserializer: "function?",
  valueDeserializer: "function?",
};
const commitShape: Shape<OffsetCommit> = {
  ...{ topic: "string", partition: "integer", offset: "offset?", metadata: "any?" },
};

const refuse = (text: string): never => {
  throw new MillraceError(ErrorCode.INVALID_REQUEST, text);
};

const where = "client.consumer";
/** Of the server's settings, milliseconds: it says the range of its own. */
const timeoutMaxMs = 2 ** 32 - 1;

/** The options, with their defaults. */
export interface GroupSettings {
  readonly from: "earliest" | "latest";
  readonly autoCommit: boolean;
  readonly autoCommitIntervalMs: number;
  readonly maxProcessingMs: number;
  readonly perPartition: number;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
}

const checkTopics = ({ group, topicPattern, topics = [] }: GroupConsumerOptions): void => {
  if (group === "") refuse(`group of ${where} is "": give the name of a group`);
  for (const topic of topics) {
    if (typeof topic !== "string") refuse(`topics of ${where} holds ${shown(topic)}: give names`);
  }
  if (topics.length > 0 || (topicPattern ?? "") !== "") return;
  refuse(`${where} has a group and no topics: give topics, or a topicPattern`);
};

export const groupSettings = <K, V>(options: GroupConsumerOptions<K, V>): GroupSettings => {
  checkFields(where, options, optionsShape);
  checkTopics(options as GroupConsumerOptions);
  const { assignor, concurrency = { perPartition: 1 } } = options;
  if (assignor !== undefined) oneOf("assignor", assignor, ["uniform", "range"]);
  checkFields(`concurrency of ${where}`, concurrency, { perPartition: "integer" });
  const { autoCommitIntervalMs = 5_000, maxProcessingMs = 300_000 } = options;
  const { rebalanceTimeoutMs = 0, sessionTimeoutMs = 0 } = options;
  return {
    from: oneOf("from", options.from ?? "latest", ["earliest", "latest"]),
    autoCommit: options.autoCommit ?? true,
    autoCommitIntervalMs: inRange("autoCommitIntervalMs", autoCommitIntervalMs, 100, 3_600_000),
    maxProcessingMs: inRange("maxProcessingMs", maxProcessingMs, 100, 86_400_000),
    perPartition: inRange("perPartition", concurrency.perPartition, 1, 1_000),
    sessionTimeoutMs: inRange("sessionTimeoutMs", sessionTimeoutMs, 0, timeoutMaxMs),
    rebalanceTimeoutMs: inRange("rebalanceTimeoutMs", rebalanceTimeoutMs, 0, timeoutMaxMs),
  };
};

export const checkCommit = (commit: OffsetCommit): void => {
  checkFields("commit", commit, commitShape);
  const { metadata, offset } = commit;
  if (offset === undefined || offset < 0) {
    refuse(`offset of commit is ${shown(offset)}: give the first one that was not processed`);
  }
  if (metadata === undefined || typeof metadata === "string" || metadata instanceof Uint8Array) {
    return;
  }
  refuse(`metadata of commit is ${shown(metadata)}: give a string or bytes`);
};
