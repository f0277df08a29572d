/** The thread of `apart.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import type { Answer, Call } from "./apart.ts";

const module: Readonly<Record<string, unknown>> = await import(workerData);

const answer = async ({ args, id, name }: Call): Promise<Answer> => {
  try {
    const work = module[name];
    if (typeof work !== "function") throw new Error(`${workerData} exports no function ${name}`);
    return { id, result: await work(...args) };
  } catch (error) {
    return { id, error };
  }
};

parentPort?.on("message", async (call: Call) => {
  parentPort?.postMessage(await answer(call));
});
