/** What `millrace --version` prints. */
import { build, buildOfClone } from "@millrace/server/build";

export const versionText = async (): Promise<string> => {
  const { version, commit } = build ?? (await buildOfClone());
  return `millrace ${version} (${commit}, Node ${process.versions.node})`;
};
