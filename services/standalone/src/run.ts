/** The command `serve`: the standalone server as a command line. */
import { type Program, runProgram } from "@millrace/server/node";
import { standaloneSchema } from "./config.ts";
import { startStandalone } from "./server.ts";

const program: Program<typeof standaloneSchema> = {
  service: "standalone",
  schema: standaloneSchema,
  usage: "millrace serve [flags]",
  about: "Starts the standalone server: broker, controller and metadata store in one process.",
  example: [
    "Example, for clients on other machines:",
    "  millrace serve --data-dir /srv/millrace --listen 0.0.0.0:7400 --advertise HOST:7400",
  ],
  start: startStandalone,
  title: () => "Millrace",
  next: ({ client }) => {
    const bootstrap = client.endsWith(":7400") ? "" : ` --bootstrap ${client}`;
    return [
      "Try next:",
      `  ./millrace topic create logs --partitions 4${bootstrap}`,
      `  echo hello | ./millrace produce logs${bootstrap}`,
      `  ./millrace consume logs --until-end${bootstrap}`,
    ];
  },
};

/** See `runProgram`. */
export const runServer = (
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<number> => runProgram(program, argv, environment);
