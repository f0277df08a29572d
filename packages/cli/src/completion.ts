/** `millrace completion`: shell scripts, generated from the commands. */
import { Command } from "commander";
import { type Io, printResult, UsageError } from "./io.ts";

/** Words that may follow each path of commands. Hidden commands are left out. */
const tree = (command: Command, path: string): [string, string[]][] => {
  const visible = command.createHelp().visibleCommands(command);
  const subcommands = visible.filter((sub) => command.commands.includes(sub));
  const words = [
    ...subcommands.map((sub) => sub.name()),
    ...command.options.flatMap(({ long }) => long ?? []),
  ];
  const below = subcommands.flatMap((sub) => tree(sub, `${path} ${sub.name()}`.trim()));
  return [[path, words], ...below];
};

const bash = (entries: readonly [string, string[]][]): string => {
  // Longest path first, because a line also matches the prefixes of its path.
  const longestFirst = entries.toSorted(([a], [b]) => b.length - a.length);
  const cases = longestFirst.map(
    ([path, words]) => `    *"millrace ${path}"*) words="${words.join(" ")}" ;;`,
  );
  return [
    "_millrace() {",
    '  local words=""',
    '  case "$COMP_LINE" in',
    ...cases,
    "  esac",
    '  COMPREPLY=($(compgen -W "$words" -- "$2"))',
    "}",
    "complete -o default -F _millrace millrace",
    "",
  ].join("\n");
};

const fish = (entries: readonly [string, string[]][]): string =>
  entries
    .flatMap(([path, words]) => {
      const last = path.split(" ").at(-1) ?? "";
      const when = path === "" ? "__fish_use_subcommand" : `__fish_seen_subcommand_from ${last}`;
      return words.map((word) =>
        word.startsWith("--")
          ? `complete -c millrace -n '${when}' -l ${word.slice(2)}`
          : `complete -c millrace -f -n '${when}' -a ${word}`,
      );
    })
    .join("\n")
    .concat("\n");

export const completionCommand = (io: Io, root: () => Command): Command =>
  new Command("completion")
    .description("Print a completion script for a shell")
    .argument("<SHELL>", "bash, zsh or fish")
    .addHelpText("after", "\nExample:\n  source <(millrace completion bash)")
    .action(async (shell: string) => {
      const entries = tree(root(), "");
      if (shell === "bash") await printResult(io, bash(entries));
      else if (shell === "zsh") {
        await printResult(io, `autoload -U +X bashcompinit && bashcompinit\n${bash(entries)}`);
      } else if (shell === "fish") await printResult(io, fish(entries));
      else throw new UsageError(`no completion for ${shell}: use bash, zsh or fish`);
    });
