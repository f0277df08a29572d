/** A cluster of one node, or an API server alone, that outlives the process which starts it. */
import { join } from "node:path";
import { etcdPrograms } from "../etcd/build.ts";
import { lookBefore } from "./before.ts";
import { kubernetesPrograms, programNames } from "./build.ts";
import { type ControlPlane, type Launcher, runControlPlane } from "./control-plane.ts";
import { installPackages } from "./machine.ts";
import { makeBridge, nodePlace, nodeSubjects, startContainerd, startNode } from "./node.ts";
import { nodeAddress } from "./node-config.ts";
import { launch } from "./processes.ts";
import { Notes, readState } from "./state.ts";
import { undo } from "./undo.ts";

export const clusterDirectory = "/var/lib/millrace-k8s";

export interface StartOptions {
  readonly directory: string;
  readonly signal?: AbortSignal | undefined;
  /** Told what has been reached. */
  readonly tell: (what: string) => void;
}

/** Everything that takes long the first time, so that a start measures a start. */
export const prepareCluster = (): void => {
  installPackages();
  etcdPrograms();
  kubernetesPrograms(programNames.filter((name) => name !== "helm"));
};

const launcherOf =
  (notes: Notes): Launcher =>
  async (command) => {
    const log = join(notes.directory, "logs", `${command.name}.log`);
    const one = await launch(command, { log, outlives: true });
    notes.started(one);
    return one;
  };

/** What an `up` begins and cannot end is undone before it fails. */
const orUndo = async (notes: Notes, start: () => Promise<ControlPlane>): Promise<ControlPlane> => {
  try {
    return await start();
  } catch (thrown) {
    try {
      await undo(notes.directory, notes.state);
    } catch (left) {
      const message = `${String(thrown)}\nAnd it could not be taken down again: ${String(left)}`;
      throw new AggregateError([thrown, left], message);
    }
    throw thrown;
  }
};

export const startApiServerAlone = async (options: StartOptions): Promise<ControlPlane> => {
  const { directory, signal, tell } = options;
  etcdPrograms();
  kubernetesPrograms(["kube-apiserver", "kubectl"]);
  const notes = Notes.begin(directory, "api-only");
  return await orUndo(notes, async () => {
    const place = { address: "127.0.0.1", directory, subjects: [], launch: launcherOf(notes) };
    const controlPlane = await runControlPlane({ ...place, signal });
    notes.note({ url: controlPlane.url });
    tell("the API server is ready");
    return controlPlane;
  });
};

export const startCluster = async (options: StartOptions): Promise<ControlPlane> => {
  const { directory, signal, tell } = options;
  const notes = Notes.begin(directory, "cluster");
  return await orUndo(notes, async () => {
    notes.note({ before: await lookBefore() });
    const launch = launcherOf(notes);
    await makeBridge();
    const place = await nodePlace(directory);
    const all = { directory, launch, signal };
    await startContainerd(place, all);
    tell("containerd has the pause image");
    const control = { ...all, address: nodeAddress, subjects: nodeSubjects };
    const controlPlane = await runControlPlane(control);
    notes.note({ url: controlPlane.url });
    tell("the API server is ready");
    await startNode(place, controlPlane, all);
    tell("the node is ready");
    return controlPlane;
  });
};

/** Ends what runs in a directory, and says whether there was anything. */
export const stopCluster = async (directory: string): Promise<boolean> => {
  const state = readState(directory);
  if (state === undefined) return false;
  await undo(directory, state);
  return true;
};
