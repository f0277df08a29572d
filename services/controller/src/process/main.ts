/** Entry of a controller's process, and of its one command. */
import { runProgram, runTask } from "@millrace/server/node";
import { renewGenerationTask } from "./renew-generation.ts";
import { controllerProgram } from "./server.ts";

const [command, ...rest] = process.argv.slice(2);
process.exit(
  command === "renew-generation"
    ? await runTask(renewGenerationTask, rest)
    : await runProgram(controllerProgram, process.argv.slice(2)),
);
