/**
 * Subscription by pattern: RE2's syntax, matched in time that is linear in the topic's name. A
 * pattern comes from outside, so it is weighed before it is compiled, and what it is compiled to is
 * kept only while topics are matched.
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import { RE2JS } from "re2js";
import { atOnce, Pace, type Steps } from "../steps.ts";
import { weightOf } from "./weight.ts";

/** UTF-16 units of a pattern. */
export const patternCharactersMax = 1000;

/** Of `weightOf`: a pattern of that length without counted repetition is below it. */
export const patternWeightMax = 2000;

/** Instructions that a pattern is compiled to: about two for a unit of weight at most. */
export const patternInstructionsMax = 3000;

/** Steps of an instruction and a character that count as one unit of work. */
const matchStepsPerUnit = 16;

/** A topic as far as a pattern is concerned. */
export interface NamedTopic {
  readonly id: TopicId;
  readonly name: string;
}

const refused = (text: string, why: string): MillraceError => {
  const start = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return MillraceError.refusal(
    ErrorCode.INVALID_REGULAR_EXPRESSION,
    `topic pattern "${start}": ${why}`,
  );
};

const compiled = (text: string): RE2JS => {
  let regex: RE2JS;
  try {
    regex = RE2JS.compile(text);
  } catch (thrown) {
    const what = thrown instanceof Error ? thrown.message : String(thrown);
    const short = what.length > 200 ? `${what.slice(0, 200)}…` : what;
    throw refused(text, `${short}; use the syntax of RE2, without look-around and backreferences`);
  }
  const size = regex.programSize();
  if (size <= patternInstructionsMax) return regex;
  throw refused(
    text,
    `compiles to ${size} instructions, and ${patternInstructionsMax} are allowed: repeat less`,
  );
};

export class TopicPattern {
  readonly text: string;

  private constructor(text: string) {
    this.text = text;
  }

  /** Throws INVALID_REGULAR_EXPRESSION for a pattern that is none, or too expensive. */
  static parse(text: string): TopicPattern {
    if (text === "") throw refused(text, "is empty; .* matches every topic");
    if (text.length > patternCharactersMax) {
      const allowed = `${patternCharactersMax} are allowed: subscribe to a list of topics`;
      throw refused(text, `has ${text.length} characters, and ${allowed}`);
    }
    const weight = weightOf(text);
    if (weight > patternWeightMax) {
      throw refused(
        text,
        `repeats too much: it weighs ${weight}, and ${patternWeightMax} is allowed; use * or +`,
      );
    }
    compiled(text);
    return new TopicPattern(text);
  }

  /** Whether the whole name matches. Compiles the pattern: for many topics use `topicIds`. */
  matches(name: string): boolean {
    return compiled(this.text).matches(name);
  }

  /** Topics of which the whole name matches. */
  topicIds(topics: Iterable<NamedTopic>): ReadonlySet<TopicId> {
    return atOnce(this.steps(topics));
  }

  /** The same in steps, for beside an event loop. */
  *steps(topics: Iterable<NamedTopic>): Steps<ReadonlySet<TopicId>> {
    const pace = new Pace();
    const regex = compiled(this.text);
    const perCharacter = regex.programSize() / matchStepsPerUnit;
    const ids = new Set<TopicId>();
    for (const { id, name } of topics) {
      if (pace.took(1 + name.length * perCharacter)) yield;
      if (regex.matches(name)) ids.add(id);
    }
    return ids;
  }
}
