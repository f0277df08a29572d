/** Events of a member as lines of a file, and back. */
import type { Event, Happening, Life } from "../../groups/ledger.ts";

type Line = Happening & Pick<Event, "atMs" | "memberId">;

const mapped = ["offsets", "positions", "refused"] as const;

export const lineOf = (line: Line): string =>
  `${JSON.stringify(line, (_, value) => (value instanceof Map ? [...value] : value))}\n`;

export const eventsIn = (text: string, life: Life): Event[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const found = JSON.parse(line) as Record<string, unknown>;
      for (const name of mapped) {
        if (found[name] !== undefined) found[name] = new Map(found[name] as [string, unknown][]);
      }
      return { ...found, life } as unknown as Event;
    });
