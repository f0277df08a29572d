/**
 * One attack in a process of its own; prints how it ended. Arguments: the target as JSON, the
 * attack's number.
 */
import { SeededRandom } from "@millrace/sim";
import { attacks } from "./attacks.ts";

const number = Number(process.argv[3]);
const attack = attacks[number];
if (attack === undefined) throw new Error(`there is no attack ${number}`);
const outcome = await attack.run(JSON.parse(process.argv[2] ?? ""), new SeededRandom(number));
process.stdout.write(outcome, () => process.exit(0));
