/** What each of the members that subscribe alike may have. */
import type { Board } from "../board.ts";

export interface Share {
  /** Members that subscribe to anything, in their order. */
  readonly takers: readonly number[];
  /** What everybody gets. */
  readonly quota: number;
  /** How many members get one more. */
  readonly rest: number;
}

export const shareOf = ({ members, partitionCount }: Board): Share => {
  const takers = [...members.keys()].filter((m) => (members[m]?.topicCount ?? 0) > 0);
  const count = Math.max(1, takers.length);
  return { takers, quota: Math.floor(partitionCount / count), rest: partitionCount % count };
};
