/** The leader of a replica, and what is being cut off its log for the leader before. */
import type { FollowedPartition } from "../replication/follower-stream.ts";
import type { Followers } from "../replication/followers.ts";

export class Following {
  readonly #followers: Pick<Followers, "follow" | "unfollow">;
  #followed: { readonly leader: number; readonly partition: FollowedPartition } | undefined;
  #cutting: Promise<void> | undefined;

  constructor(followers: Pick<Followers, "follow" | "unfollow">) {
    this.#followers = followers;
  }

  /** Resolves when nothing cuts the log any more; undefined when nothing does. */
  get cutting(): Promise<void> | undefined {
    return this.#cutting;
  }

  /** Follows a leader until `end`. Does nothing while one is followed. */
  begin(leader: number, partition: FollowedPartition): void {
    if (this.#followed !== undefined) return;
    this.#followed = { leader, partition };
    this.#followers.follow(leader, partition);
  }

  /** Nothing is appended for a leader any more when this returns. */
  end(): void {
    if (this.#followed === undefined) return;
    const { leader, partition } = this.#followed;
    this.#followed = undefined;
    const cutting = this.#followers.unfollow(leader, partition);
    if (cutting === undefined) return;
    const whole = cutting.then(() => {
      if (this.#cutting === whole) this.#cutting = undefined;
    });
    this.#cutting = whole;
  }
}
