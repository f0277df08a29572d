/** How a second command reaches the supervisor: one line of JSON each way over a socket. */
import { rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
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

/** Serves commands until it is closed. `act` rejects with a text for people. */
export const serveControl = (
  directory: string,
  act: (command: Command) => Promise<void>,
): Promise<Server> => {
  const path = socketIn(directory);
  rmSync(path, { force: true });
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    createInterface({ input: socket }).once("line", (line) => {
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
    socket.setTimeout(answerMs, () => {
      socket.destroy(new Error(`no answer within ${answerMs / 1000} s`));
    });
    socket.once("error", ({ message }) => {
      reject(new Error(`no cluster runs in ${directory}: ${message}`));
    });
    socket.once("connect", () => socket.write(`${JSON.stringify(command)}\n`));
    createInterface({ input: socket }).once("line", (line) => {
      socket.end();
      const { error } = JSON.parse(line) as { readonly error?: string };
      if (error === undefined) resolve();
      else reject(new Error(error));
    });
  });
