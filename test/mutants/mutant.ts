/** A one-line mistake that a test must notice. */
export interface Mutant {
  /** Unique over all lists, kebab-case. */
  readonly name: string;
  /** The guarantee that the change breaks, in one sentence. */
  readonly breaks: string;
  /** Source file, from the root of the repository. */
  readonly file: string;
  /** Texts and what replaces them. Each text stands exactly once in the file. */
  readonly replace: readonly (readonly [from: string, to: string])[];
  /**
   * Test files that must notice, from the root of the repository, tried in this order until one
   * fails. Each must pass on the unchanged sources.
   */
  readonly tests: readonly string[];
  /** Environment of the tests, such as the seeds of the crash suite. */
  readonly env?: Readonly<Record<string, string>>;
}
