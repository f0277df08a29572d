export { assignReplicas, type Candidate } from "./assignment.ts";
export { Controller, type ControllerOptions } from "./controller.ts";
export { limits } from "./limits.ts";
