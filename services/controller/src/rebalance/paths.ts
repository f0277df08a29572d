/** The shortest way to hand something from one broker to another, maybe over others. */
import { must } from "@millrace/errors";

/** A step: broker `from` gives `what` to broker `to`. */
export interface Step {
  readonly from: number;
  readonly to: number;
  readonly what: number;
}

/**
 * Breadth first from `from` until a broker for which `isEnd` holds. `stepsFrom` tells what a broker
 * can give to whom; the first that comes is taken. Undefined where there is no way.
 */
export const shortestPath = (
  from: number,
  stepsFrom: (broker: number, isNew: (to: number) => boolean) => Iterable<Step>,
  isEnd: (broker: number) => boolean,
): readonly Step[] | undefined => {
  const reachedBy = new Map<number, Step>();
  const isNew = (to: number): boolean => to !== from && !reachedBy.has(to);
  const queue = [from];
  for (let at = 0; at < queue.length; at += 1) {
    for (const step of stepsFrom(must(queue[at], "a broker"), isNew)) {
      if (!isNew(step.to)) continue;
      reachedBy.set(step.to, step);
      if (isEnd(step.to)) return pathTo(step, from, reachedBy);
      queue.push(step.to);
    }
  }
  return undefined;
};

const pathTo = (
  last: Step,
  from: number,
  reachedBy: ReadonlyMap<number, Step>,
): readonly Step[] => {
  const path = [last];
  for (let step = last; step.from !== from; ) {
    step = must(reachedBy.get(step.from), "a step of the path");
    path.unshift(step);
  }
  return path;
};
