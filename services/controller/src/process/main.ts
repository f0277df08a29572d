/** Entry of a controller's process. */
import { runProgram } from "@millrace/server/node";
import { controllerProgram } from "./server.ts";

process.exit(await runProgram(controllerProgram, process.argv.slice(2)));
