/** Helpers of this package's tests. */
import { Writable } from "node:stream";

/** Keeps what is written. */
export class Kept extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}
