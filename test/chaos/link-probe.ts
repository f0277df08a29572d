/**
 * For the test of links. `serve HOST PORT` echoes. `hold HOST PORT` opens a connection, sends each
 * line of its input over it, and tells what became of it; a line `new` opens another one.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

const patienceMs = 700;
const [mode = "", host = "", portText = ""] = process.argv.slice(2);
const port = Number(portText);

/** What comes first: an event of a socket, the code of its error, or "nothing" in time. */
const outcome = async (socket: Socket, event: string, bytes = 0): Promise<string> => {
  const signal = AbortSignal.timeout(patienceMs);
  try {
    let left = bytes;
    do {
      const [chunk] = await once(socket, event, { signal });
      left -= chunk?.length ?? 0;
    } while (left > 0);
    return event;
  } catch (thrown) {
    const { code, name } = thrown as NodeJS.ErrnoException;
    return name === "AbortError" ? "nothing" : (code ?? name);
  }
};

const open = async (): Promise<readonly [Socket, string]> => {
  const socket = connect(port, host);
  const opened = await outcome(socket, "connect");
  socket.on("error", () => {});
  return [socket, opened];
};

if (mode === "serve") {
  const server = createServer((socket) => socket.on("error", () => {}).pipe(socket));
  server.listen(port, host, () => console.log("listens"));
  // Whoever started it is gone.
  process.stdin.resume().once("end", () => process.exit());
} else {
  let [socket, opened] = await open();
  console.log(opened);
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "new") {
      socket.destroy();
      [socket, opened] = await open();
      console.log(opened);
    } else {
      const answer = outcome(socket, "data", line.length);
      socket.write(line);
      console.log(await answer);
    }
  }
  socket.destroy();
}
