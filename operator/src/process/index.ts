/** The operator as a program, for what is made from it. */
export { operatorSchema } from "./config.ts";
export { operatorMetrics, operatorProgram } from "./server.ts";
