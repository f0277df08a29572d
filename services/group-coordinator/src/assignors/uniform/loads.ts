import { type Board, nobody } from "../board.ts";
import { Counts } from "../counts.ts";

/** How many partitions each member has. */
export const loadsOf = ({ members, owners, partitionCount }: Board): Counts => {
  const loads = new Counts(members.length);
  for (let g = 0; g < partitionCount; g += 1) {
    if (owners.of(g) !== nobody) loads.add(owners.of(g));
  }
  return loads;
};
