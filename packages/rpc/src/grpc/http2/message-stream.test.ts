import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { Http2Stream } from "node:http2";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { framesOf } from "./framing.ts";
import { MessageStream } from "./message-stream.ts";

const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes };

class Received extends MessageStream<Uint8Array, Uint8Array> {
  readonly peer = Object.assign(new EventEmitter(), { pause: () => {}, resume: () => {} });

  constructor() {
    super(raw, raw);
    this.receiveFrom(this.peer as unknown as Http2Stream);
  }

  protected override readonly isOver = false;

  protected override broken(thrown: unknown): never {
    throw thrown;
  }

  write(): boolean {
    return false;
  }
}

const frame = (number: number): Buffer => {
  const message = Buffer.alloc(32 * 1024);
  message.writeUInt32LE(number);
  return Buffer.concat(framesOf([message], message.length));
};

test("who is always a little behind reads all in order, and holds no more than that", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const stream = new Received();
  const count = 2_000;
  const behind = 100;
  for (let i = 0; i < count; i += 1) {
    stream.peer.emit("data", frame(i));
    if (i < behind) continue;
    const message = stream.tryRead();
    assert.equal(Buffer.from(message ?? []).readUInt32LE(), i - behind);
  }
  const heldBytesMax = (count * 32 * 1024) / 2;
  let heldBytes = Number.POSITIVE_INFINITY;
  // Memory of buffers is given back a little after the collection.
  for (let i = 0; i < 100 && heldBytes > heldBytesMax; i += 1) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
    heldBytes = process.memoryUsage().arrayBuffers;
  }
  assert.ok(heldBytes < heldBytesMax, `${heldBytes} bytes are held`);
  for (let i = count - behind; i < count; i += 1) {
    assert.equal(Buffer.from(stream.tryRead() ?? []).readUInt32LE(), i);
  }
  assert.equal(stream.tryRead(), undefined);
});
