/** How a second command reaches the supervisor: one line of JSON each way over a socket. */
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";

export const actions = ["stop", "start", "restart", "kill", "pause", "resume"] as const;
export type Action = (typeof actions)[number];

export interface Command {
  readonly action: Action;
  readonly name: string;
}

/** Longest wait for an answer: a clean stop may take as long, ms. */
const answerMs = 60_000;

/** Paths of sockets are short: from here, where that is shorter. */
const socketIn = (directory: string): string => {
  const path = join(directory, "control.sock");
  const near = relative(process.cwd(), path);
  return near.length < path.length ? near : path;
};

const onFirstLine = (socket: Socket, take: (line: string) => void): void => {
  const lines = createInterface({ input: socket });
  // It repeats the errors of the socket: one without a listener ends the process.
  lines.on("error", () => {});
  lines.once("line", take);
};

const isServed = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });

/**
 * Serves commands until it is closed. `act` rejects with a text for people. Rejects when the
 * directory has a supervisor.
 */
export const serveControl = async (
  directory: string,
  act: (command: Command) => Promise<void>,
): Promise<Server> => {
  const path = socketIn(directory);
  if (await isServed(path)) {
    throw new Error(`a cluster runs in ${directory}: stop it, or use another --dir`);
  }
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    onFirstLine(socket, (line) => {
      Promise.resolve()
        .then(() => act(JSON.parse(line) as Command))
        .then(
          () => socket.end(`${JSON.stringify({})}\n`),
          (thrown: unknown) => {
            const error = thrown instanceof Error ? thrown.message : String(thrown);
            socket.end(`${JSON.stringify({ error })}\n`);
          },
        );
    });
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => resolve(server));
  });
};

/** Has the supervisor of a directory do something. Rejects with a text for people. */
export const sendCommand = (directory: string, command: Command): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = connect(socketIn(directory));
    socket.setTimeout(answerMs, () => socket.destroy());
    socket.once("error", ({ message }) => {
      reject(new Error(`no cluster runs in ${directory}: ${message}`));
    });
    socket.once("close", () => {
      reject(new Error("the supervisor has not answered: look into its terminal"));
    });
    socket.once("connect", () => socket.write(`${JSON.stringify(command)}\n`));
    onFirstLine(socket, (line) => {
      socket.end();
      const { error } = JSON.parse(line) as { readonly error?: string };
      if (error === undefined) resolve();
      else reject(new Error(error));
    });
  });
