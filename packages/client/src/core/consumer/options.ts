/** Checks of what a consumer is given. All throw INVALID_REQUEST. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { checkFields, oneOf, type Shape, shown } from "../checks.ts";
import type { Assignment, ConsumerOptions, Position, Seek, TopicPartition } from "../types.ts";

const optionsShape: Shape<ConsumerOptions> = {
  topic: "string?",
  from: "any?",
  bufferBytesMax: "any?",
  onOutOfRange: "any?",
  untilEnd: "boolean?",
  isolation: "any?",
  inflatedBytesMax: "any?",
  onState: "function?",
  keyDeserializer: "function?",
  valueDeserializer: "function?",
};
const assignmentShape: Shape<Assignment> = {
  ...{ topic: "string", partition: "integer?", from: "any?" },
};
const seekShape: Shape<Seek> = { topic: "string", partition: "integer", to: "any" };
const placeShape: Shape<TopicPartition> = { topic: "string", partition: "integer" };

const refuse = (text: string): never => {
  throw new MillraceError(ErrorCode.INVALID_REQUEST, text);
};

export const checkPosition = (where: string, position: Position | undefined): void => {
  if (position === undefined) return;
  if (typeof position === "string") {
    oneOf(where, position, ["earliest", "latest"]);
    return;
  }
  checkFields(where, position, { offset: "offset?", timestampMs: "integer?", tail: "integer?" });
  const { length } = Object.values(position).filter((value) => value !== undefined);
  if (length !== 1) {
    refuse(`${where} has ${length} of offset, timestampMs and tail: give one of them`);
  }
};

export const checkOptions = <K, V>(options: ConsumerOptions<K, V>): void => {
  checkFields("client.consumer", options, optionsShape);
  checkPosition("from of client.consumer", options.from);
  if (options.from === undefined || options.topic !== undefined) return;
  refuse("client.consumer has from and no topic: give the topic, or from to assign");
};

export const checkAssignments = (assignments: readonly Assignment[]): void => {
  if (!Array.isArray(assignments)) {
    refuse(`assign takes a list of { topic, partition, from }, not ${shown(assignments)}`);
  }
  for (const assignment of assignments) {
    checkFields("assign", assignment, assignmentShape);
    checkPosition("from of assign", assignment.from);
  }
};

export const checkSeek = (place: Seek): void => {
  checkFields("seek", place, seekShape);
  checkPosition("to of seek", place.to);
};

export const checkPlace = (where: string, place: TopicPartition): void =>
  checkFields(where, place, placeShape);
