/**
 * The topic in which consumer groups live, by records of group coordinators. Its partitions are the
 * shards of the groups.
 */
export const groupStateTopic = "__group_state";
