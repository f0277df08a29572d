/** Runs pieces of work one after another, in the order in which they were handed in. */
export class WorkQueue {
  #last: Promise<void> = Promise.resolve();

  /** Resolves or rejects as `work` does. A failure does not stop the work behind it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.then(
      () => {},
      () => {},
    );
    return done;
  }
}
