/** Ports that nobody has, and whether a process has the one that it was given. */
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";

const portOf = (server: Server): number => {
  const address = server.address();
  return typeof address === "object" ? (address?.port ?? 0) : 0;
};

/** As many different free ports, at this moment. Another process may be faster than their users. */
export const freePorts = async (count: number, address = "127.0.0.1"): Promise<number[]> => {
  const servers = Array.from({ length: count }, () => createServer().listen(0, address));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map(portOf);
  for (const server of servers) server.close();
  await Promise.all(servers.map((server) => once(server, "close")));
  return ports;
};

/** Inodes of the sockets that listen on a port, of a table like `/proc/net/tcp`. */
export const listenersOf = (table: string, port: number): string[] => {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return table.split("\n").flatMap((line) => {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    // 0A is TCP_LISTEN.
    return state === "0A" && local.endsWith(`:${hex}`) ? [inode] : [];
  });
};

const readOrNothing = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
};

const socketsOf = (pid: number): Set<string> => {
  const directory = `/proc/${pid}/fd`;
  const links = readdirSync(directory).flatMap((fd) => {
    try {
      return [readlinkSync(`${directory}/${fd}`)];
    } catch {
      return [];
    }
  });
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
};

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });

/**
 * Whether it is this process that listens on the port. Elsewhere than on Linux: whether anyone
 * does.
 */
export const listens = async (pid: number, port: number): Promise<boolean> => {
  if (process.platform !== "linux") return await isOpen(port);
  const tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(readOrNothing);
  try {
    const sockets = socketsOf(pid);
    return tables.flatMap((table) => listenersOf(table, port)).some((one) => sockets.has(one));
  } catch {
    return false;
  }
};
