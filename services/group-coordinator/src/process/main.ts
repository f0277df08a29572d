/** Entry of a group coordinator's process. */
import { runProgram } from "@millrace/server/node";
import { groupCoordinatorProgram } from "./server.ts";

process.exit(await runProgram(groupCoordinatorProgram, process.argv.slice(2)));
