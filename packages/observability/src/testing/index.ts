export { type Family, familiesOf, promlint } from "./promlint.ts";
