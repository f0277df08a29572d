/** What a group coordinator tells whoever counts. */
export interface GroupMetrics {
  /** Records of a shard were appended, by one call. */
  onAppend(records: number, durationMs: number): void;
  /** Offsets of partitions were committed. */
  onCommits(offsets: number): void;
  /** A target assignment was made. */
  onTarget(): void;
  onExpelled(members: number): void;
}

export const noMetrics: GroupMetrics = {
  onAppend() {},
  onCommits() {},
  onTarget() {},
  onExpelled() {},
};
