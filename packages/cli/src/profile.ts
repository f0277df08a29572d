/** `millrace profile …`. */
import { Command } from "commander";
import { type Io, tell } from "./io.ts";
import {
  checkProfileName,
  profilesPath,
  readProfiles,
  requireProfile,
  writeProfiles,
} from "./profiles.ts";
import { checkedEndpoints, commandGroup, print, withOutput } from "./shared.ts";

const add = (io: Io): Command =>
  new Command("add")
    .description("Add a profile, or change one; the first is the current one")
    .argument("<NAME>")
    .requiredOption("-b, --bootstrap <HOST:PORT,…>", "servers to ask first")
    .addHelpText("after", "\nExample:\n  millrace profile add staging --bootstrap a:7400,b:7400")
    .action(async (name: string, { bootstrap }: { readonly bootstrap: string }) => {
      checkProfileName(name);
      await checkedEndpoints("--bootstrap", bootstrap);
      const { current, profiles } = await readProfiles(io);
      const known = profiles.has(name);
      const all = new Map(profiles).set(name, { bootstrap });
      await writeProfiles(io, { current: current ?? name, profiles: all });
      await tell(io, `${known ? "changed" : "added"} profile ${name}\n`);
      if (current === undefined) await tell(io, `profile ${name} is the current one\n`);
    });

const use = (io: Io): Command =>
  new Command("use")
    .description("Make a profile the current one")
    .argument("<NAME>")
    .addHelpText("after", "\nExample:\n  millrace profile use staging")
    .action(async (name: string) => {
      const found = await readProfiles(io);
      const { bootstrap } = requireProfile(found, name);
      await writeProfiles(io, { ...found, current: name });
      await tell(io, `profile ${name} is the current one: ${bootstrap}\n`);
    });

const list = (io: Io): Command =>
  withOutput(
    new Command("list")
      .description("List profiles")
      .addHelpText("after", "\nExample:\n  millrace profile list"),
  ).action(async (flags: { readonly output: string }) => {
    const { current, profiles } = await readProfiles(io);
    const json = [...profiles].map(([name, { bootstrap }]) => ({
      name,
      bootstrap,
      current: name === current,
    }));
    const rows = json.map((one) => [one.current ? "*" : "", one.name, one.bootstrap]);
    await print(io, flags.output, json, ["", "NAME", "BOOTSTRAP"], rows);
    if (json.length > 0 || flags.output === "json") return;
    await tell(
      io,
      `there are no profiles in ${profilesPath(io)}: see millrace profile add --help\n`,
    );
  });

const remove = (io: Io): Command =>
  new Command("delete")
    .description("Delete profiles")
    .argument("<NAME...>")
    .addHelpText("after", "\nExample:\n  millrace profile delete staging")
    .action(async (names: string[]) => {
      const found = await readProfiles(io);
      for (const name of names) requireProfile(found, name);
      const profiles = new Map([...found.profiles].filter(([name]) => !names.includes(name)));
      const isCurrent = found.current !== undefined && names.includes(found.current);
      await writeProfiles(io, { current: isCurrent ? undefined : found.current, profiles });
      await tell(io, `deleted profile ${names.join(", ")}\n`);
    });

export const profileCommand = (io: Io): Command => {
  const group = commandGroup(
    "profile",
    "Name clusters, so that nobody types addresses",
    "millrace profile add staging --bootstrap a:7400,b:7400",
  );
  for (const make of [add, use, list, remove]) group.addCommand(make(io));
  return group;
};
