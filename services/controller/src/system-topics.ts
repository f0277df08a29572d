/** Topics that the system keeps for itself: what would lose what they remember is refused. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { groupStateTopic } from "@millrace/metadata";

/** Configs that say how long records are kept. */
const keeping: ReadonlySet<string> = new Set(["cleanup.policy", "retention.bytes", "retention.ms"]);

const refused = (what: string): MillraceError =>
  MillraceError.refusal(
    ErrorCode.POLICY_VIOLATION,
    `${groupStateTopic} is where consumer groups live: ${what}; delete groups one by one`,
  );

/** Throws POLICY_VIOLATION. */
export const checkDeletion = (name: string): void => {
  if (name === groupStateTopic) throw refused("without it all of them are lost");
};

/** Throws POLICY_VIOLATION. */
export const checkMorePartitions = (name: string): void => {
  if (name === groupStateTopic) throw refused("with more partitions nobody finds them");
};

/** Throws POLICY_VIOLATION. Compaction alone keeps everything that counts. */
export const checkKeeping = (
  name: string,
  set: Readonly<Record<string, string>>,
  remove: readonly string[],
): void => {
  if (name !== groupStateTopic) return;
  const changed = Object.keys(set).filter(
    (key) => key !== "cleanup.policy" || set[key] !== "compact",
  );
  for (const key of [...changed, ...remove])
    if (keeping.has(key)) throw refused(`${key} would lose some of them`);
};
