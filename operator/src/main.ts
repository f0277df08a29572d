/** Entry of the operator's process. */
import { runProgram } from "@millrace/server/node";
import { operatorProgram } from "./process/server.ts";

const code = await runProgram(operatorProgram, process.argv.slice(2));
process.exit(process.exitCode ?? code);
