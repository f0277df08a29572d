/**
 * `millrace completion`: scripts for shells. They ask `millrace complete` for every word, so that
 * they know the topics of the cluster, and need no renewal when commands change.
 */
import { Argument, Command, type Option } from "commander";
import { type Io, printResult, UsageError } from "./io.ts";
import { readProfiles } from "./profiles.ts";
import { connectClient } from "./shared.ts";

/** Longest wait for a cluster whose names are wanted, milliseconds: somebody has pressed a key. */
const namesTimeoutMs = 1_500;

const scripts = {
  bash: `# To install: millrace completion bash > ~/.local/share/bash-completion/completions/millrace
_millrace() {
  local IFS=$'\\n'
  COMPREPLY=($(millrace complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _millrace millrace
`,
  zsh: `#compdef millrace
# To install: millrace completion zsh > "\${fpath[1]}/_millrace"
_millrace() {
  local -a candidates
  candidates=("\${(@f)$(millrace complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [ -n "\${candidates[1]}" ]; then compadd -a candidates; else _files; fi
}
if [ "\${funcstack[1]}" = "_millrace" ]; then _millrace "$@"; else compdef _millrace millrace; fi
`,
  fish: `# To install: millrace completion fish > ~/.config/fish/completions/millrace.fish
function __millrace_complete
  set -l words (commandline -opc) (commandline -ct)
  millrace complete -- $words[2..-1] 2>/dev/null
end
complete -c millrace -n 'not __fish_seen_subcommand_from produce log serve' -f
complete -c millrace -a '(__millrace_complete)'
`,
} as const;

const isShell = (name: string): name is keyof typeof scripts => Object.hasOwn(scripts, name);

/** Where in the command line the last word stands. */
interface Cursor {
  readonly command: Command;
  /** The option whose value is wanted; undefined for anything else. */
  readonly option: Option | undefined;
  /** Words before it that are no options. */
  readonly args: readonly string[];
  readonly flags: ReadonlyMap<string, string>;
}

const cursorOf = (root: Command, before: readonly string[]): Cursor => {
  let command = root;
  let option: Option | undefined;
  const args: string[] = [];
  const flags = new Map<string, string>();
  for (const word of before) {
    if (option !== undefined) {
      flags.set(option.attributeName(), word);
      option = undefined;
    } else if (word.startsWith("-")) {
      const [name, value] = word.split(/=(.*)/s);
      const found = command.options.find(({ long, short }) => long === name || short === name);
      if (found !== undefined && value !== undefined) flags.set(found.attributeName(), value);
      else if (found?.required === true) option = found;
    } else {
      const sub =
        args.length === 0 ? command.commands.find((one) => one.name() === word) : undefined;
      if (sub === undefined) args.push(word);
      else command = sub;
    }
  }
  return { command, option, args, flags };
};

/** The argument that the next word would be. */
const argumentAt = (command: Command, index: number): Argument | undefined => {
  const { registeredArguments } = command;
  const last = registeredArguments.at(-1);
  return registeredArguments[index] ?? (last?.variadic === true ? last : undefined);
};

/** What names are asked of. */
type Kind = "topics" | "groups";

const namesOf = async (
  io: Io,
  flags: ReadonlyMap<string, string>,
  kind: Kind,
): Promise<string[]> => {
  const [bootstrap, profile] = [flags.get("bootstrap"), flags.get("profile")];
  const chosen = {
    timeout: "30",
    ...(bootstrap === undefined ? {} : { bootstrap }),
    ...(profile === undefined ? {} : { profile }),
  };
  const late = new Promise<string[]>((resolve) => {
    setTimeout(() => resolve([]), namesTimeoutMs).unref();
  });
  const asked = (async () => {
    await using client = await connectClient(io, chosen);
    const names: string[] = [];
    if (kind === "groups") {
      for (const { group } of await client.admin.listGroups()) names.push(group);
    } else for await (const { name } of client.admin.listTopics()) names.push(name);
    return names;
  })();
  asked.catch(() => {});
  return Promise.race([asked, late]);
};

const wordsFor = async (root: Command, io: Io, words: readonly string[]): Promise<string[]> => {
  const last = words.at(-1) ?? "";
  const { command, option, args, flags } = cursorOf(root, words.slice(0, -1));
  if (option?.long === "--profile") return [...(await readProfiles(io)).profiles.keys()];
  if (option?.long === "--group") return namesOf(io, flags, "groups");
  if (option !== undefined) return [...(option.argChoices ?? [])];
  if (last.startsWith("-")) {
    return command.options.filter(({ hidden }) => !hidden).flatMap(({ long }) => long ?? []);
  }
  const visible = command.createHelp().visibleCommands(command);
  const commands = args.length === 0 ? visible.map((one) => one.name()) : [];
  const argument = argumentAt(command, args.length);
  if (argument === undefined) return commands;
  const group = command.parent?.name();
  if (argument.argChoices !== undefined) return [...argument.argChoices];
  if (group === "profile") return [...(await readProfiles(io)).profiles.keys()];
  if (argument.name() === "GROUP") return namesOf(io, flags, "groups");
  const isTopic = argument.name() === "TOPIC" || group === "topic";
  // A topic that is made is not there yet.
  if (!isTopic || command.name() === "create") return commands;
  return [...commands, ...(await namesOf(io, flags, "topics"))];
};

/** Candidates for the last of `words`, in lines. What cannot be known is left out. */
const completeCommand = (io: Io, root: () => Command): Command =>
  new Command("complete")
    .description("Print candidates for the last word, for completion scripts")
    .argument("[WORDS...]")
    .addHelpText("after", "\nExample:\n  millrace complete -- topic describe ''")
    .action(async (words: string[]) => {
      const last = words.at(-1) ?? "";
      const candidates = await wordsFor(root(), io, words).catch(() => []);
      const fitting = candidates.filter((one) => one.startsWith(last));
      if (fitting.length > 0) await printResult(io, `${fitting.join("\n")}\n`);
    });

const printScript = (io: Io): Command =>
  new Command("completion")
    .description("Print a completion script for a shell")
    .addArgument(new Argument("<SHELL>", "bash, zsh or fish").choices(Object.keys(scripts)))
    .addHelpText(
      "after",
      "\nTo try it:\n  source <(millrace completion bash)\n" +
        "\nTo install it:\n" +
        "  mkdir -p ~/.local/share/bash-completion/completions ~/.config/fish/completions\n" +
        "  millrace completion bash > ~/.local/share/bash-completion/completions/millrace\n" +
        '  millrace completion zsh > "$' +
        '{fpath[1]}/_millrace"\n' +
        "  millrace completion fish > ~/.config/fish/completions/millrace.fish\n" +
        "\nExample:\n  millrace completion bash",
    )
    .action(async (shell: string) => {
      if (!isShell(shell))
        throw new UsageError(`no completion for ${shell}: use bash, zsh or fish`);
      await printResult(io, scripts[shell]);
    });

/** Both commands; the second is hidden. */
export const addCompletion = (root: Command, io: Io): void => {
  root.addCommand(printScript(io));
  root.addCommand(
    completeCommand(io, () => root),
    { hidden: true },
  );
};
