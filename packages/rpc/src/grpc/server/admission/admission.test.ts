import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import fc from "fast-check";
import { connectionWindowBytes, firstConnectionWindowBytes } from "../../windows.ts";
import {
  Admission,
  type AdmittedConnection,
  abandonedMax,
  addressKey,
  evictionsMax,
  overrunsMax,
} from "./admission.ts";
import { AdmittedStream, beginBytes } from "./admitted-stream.ts";
import { ByteBudget } from "./byte-budget.ts";
import { MessageFraming } from "./framing.ts";
import type { AdmissionLimits, LimitName } from "./limits.ts";

class FakeConnection {
  closed: "politely" | "at once" | undefined;
  read = 0;
  written = 0;
  window = 0;
  connectionWindow = 0;
  close(politely: boolean): void {
    this.closed = politely ? "politely" : "at once";
  }
  bytesRead(): number {
    return this.read;
  }
  bytesWritten(): number {
    return this.written;
  }
  setStreamWindow(bytes: number): void {
    this.window = bytes;
  }
  setConnectionWindow(bytes: number): void {
    this.connectionWindow = bytes;
  }
}

class FakeStream {
  refused: MillraceError | undefined;
  unread = 0;
  refuse(error: MillraceError): void {
    this.refused = error;
  }
  unreadBytes(): number {
    return this.unread;
  }
}

const world = (limits: Partial<AdmissionLimits> = {}) => {
  const refused: LimitName[] = [];
  const admission = new Admission(limits, { onRefused: (limit) => refused.push(limit) });
  const connect = (address = "10.0.0.1") => {
    const handle = new FakeConnection();
    const connection = admission.connect(address, handle);
    connection?.settled();
    return { handle, connection: connection as AdmittedConnection };
  };
  const call = (connection: AdmittedConnection, bytesMax = 1000, single = false) => {
    const handle = new FakeStream();
    const stream = connection.open("/s/m", { bytesMax, single }, handle);
    assert.ok(stream instanceof AdmittedStream);
    return { handle, stream };
  };
  return { admission, refused, connect, call };
};

/** A whole gRPC message of so many bytes on the wire. */
const message = (bytes: number): Buffer => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUInt32BE(bytes - 5, 1);
  return buffer;
};

test("bytes of a connection are its address's and the server's", () => {
  const all = new ByteBudget("buffered_bytes", 100);
  const address = new ByteBudget("buffered_bytes_per_address", 80, all);
  const one = new ByteBudget("buffered_bytes_per_connection", 60, address);
  const other = new ByteBudget("buffered_bytes_per_connection", 60, address);
  assert.equal(one.add(50), undefined);
  assert.equal(other.add(40), address);
  assert.ok(address.covers(one) && all.covers(other) && !one.covers(other));
  one.remove(50);
  assert.deepEqual([one.bytes, other.bytes, address.bytes, all.bytes], [0, 40, 40, 40]);
  assert.throws(() => one.remove(1), /invariant/);
});

test("framing finds the same messages however the bytes are cut", () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 20 });
  const cuts = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 });
  fc.assert(
    fc.property(lengths, cuts, (bodies, steps) => {
      const wire = Buffer.concat(bodies.map((length) => message(length + 5)));
      const framing = new MessageFraming(300);
      let at = 0;
      for (let i = 0; at < wire.length; i += 1) {
        const end = at + (steps[i % steps.length] ?? 1);
        assert.equal(framing.follow(wire.subarray(at, end)), undefined);
        at = end;
      }
      assert.equal(framing.messages, bodies.length);
      assert.equal(framing.unfinished, false);
      assert.equal(framing.begunBytes, 0);
    }),
  );
  assert.equal(new MessageFraming(299).follow(message(305)), 300);
});

test("connections are bounded in all, per address, and in their rate", () => {
  const { admission, refused, connect } = world({
    connectionsMax: 5,
    connectionsPerAddressMax: 3,
    connectionRateMax: 1,
  });
  const mine = [connect(), connect(), connect()];
  assert.equal(connect().connection, undefined);
  mine[0]?.connection.closed();
  assert.equal(connect().connection, undefined, "the burst is used up");
  admission.sweep(1000, 0);
  assert.ok(connect().connection);
  connect("10.0.0.2");
  connect("10.0.0.3");
  assert.equal(connect("10.0.0.4").connection, undefined);
  assert.deepEqual(refused, ["connections_per_address", "connection_rate", "connections"]);
  assert.equal(admission.gauges().connections, 5);
});

test("calls are bounded per connection, per address and in all", () => {
  const { refused, connect, call } = world({
    streamsMax: 4,
    streamsPerAddressMax: 3,
    streamsPerConnectionMax: 2,
  });
  const one = connect().connection;
  const two = connect().connection;
  const other = connect("10.0.0.2").connection;
  const first = call(one);
  call(one);
  const why = (connection: AdmittedConnection) =>
    connection.open("/s/m", { bytesMax: 1, single: false }, new FakeStream()) as MillraceError;
  assert.equal(why(one).code, ErrorCode.ADMISSION_REJECTED);
  call(two);
  assert.equal(why(two).facts?.["limit"], "streams_per_address");
  call(other);
  assert.equal(why(other).retryAfterMs, 1000);
  first.stream.closed();
  assert.ok(call(other));
  assert.deepEqual(refused, ["streams_per_connection", "streams_per_address", "streams"]);
});

test("a call that has ended makes room for its address", () => {
  const { connect, call } = world({ streamsPerAddressMax: 2 });
  const { connection } = connect();
  for (let i = 0; i < 10; i += 1) {
    const streams = [call(connection), call(connection)];
    for (const { stream } of streams) stream.closed();
  }
});

test("a full budget of a connection costs its own calls, however much others buffer", () => {
  const { connect, call } = world({ bufferedBytesPerConnectionMax: 100 });
  const neighbour = call(connect().connection);
  neighbour.stream.received(message(90));
  const { connection } = connect();
  const larger = call(connection);
  const smaller = call(connection);
  larger.stream.received(message(60));
  smaller.stream.received(message(50));
  assert.equal(larger.handle.refused?.facts?.["limit"], "buffered_bytes_per_connection");
  assert.equal(smaller.handle.refused, undefined);
  assert.equal(neighbour.handle.refused, undefined);
});

test("a connection that goes on opening calls beyond its bound is ended, a short overrun is not", () => {
  const { connect, call, refused } = world({ streamsPerConnectionMax: 2 });
  const { handle, connection } = connect();
  call(connection);
  const { stream } = call(connection);
  const open = () => connection.open("/s/m", { bytesMax: 1, single: false }, new FakeStream());
  for (let i = 0; i < overrunsMax; i += 1) assert.ok(open() instanceof MillraceError);
  assert.equal(handle.closed, undefined);
  stream.closed();
  assert.ok(open() instanceof AdmittedStream);
  assert.ok(open() instanceof MillraceError);
  assert.equal(handle.closed, "at once");
  assert.deepEqual(new Set(refused), new Set(["streams_per_connection"]));
});

test("a connection that resets calls before they begin is ended, a burst of them is not", () => {
  const { admission, connect, refused } = world();
  const { handle, connection } = connect();
  const burst = () => {
    for (let i = 0; i < abandonedMax; i += 1) connection.abandoned();
  };
  burst();
  admission.sweep(1000, 0);
  burst();
  assert.equal(handle.closed, undefined);
  connection.abandoned();
  assert.equal(handle.closed, "at once");
  assert.deepEqual(refused, ["protocol"]);
});

test("messages count in full length as soon as they begin", () => {
  const { refused, connect, call } = world({ begunBytesPerConnectionMax: 1500 });
  const { connection } = connect();
  const begin = (bytes: number) => {
    const one = call(connection);
    return { ...one, taken: one.stream.received(message(bytes).subarray(0, 6)) };
  };
  const first = begin(805);
  const second = begin(705);
  assert.ok(first.taken && second.taken);
  const third = begin(6);
  assert.ok(third.taken, "it is whole");
  const fourth = begin(7);
  assert.equal(fourth.taken, false);
  assert.equal(fourth.handle.refused?.facts?.["limit"], "begun_bytes_per_connection");
  assert.equal(connection.begunBytes, 1500);
  assert.ok(first.stream.received(Buffer.alloc(799)), "the rest comes");
  assert.ok(begin(505).taken);
  assert.equal(connection.begunBytes, 1200);
  second.stream.closed();
  assert.equal(connection.begunBytes, 500);
  assert.deepEqual(refused, ["begun_bytes_per_connection"]);
});

test("a connection whose calls are cut for their bytes again and again is ended", () => {
  const { admission, connect, call } = world({ begunBytesPerConnectionMax: 10 });
  const { handle, connection } = connect();
  const cut = (times: number) => {
    for (let i = 0; i < times; i += 1) call(connection).stream.received(message(100));
    for (let i = 0; i < times; i += 1) {
      assert.equal(call(connection).stream.received(message(100).subarray(0, 10)), false);
    }
  };
  cut(evictionsMax);
  admission.sweep(5000, 0);
  cut(evictionsMax);
  assert.equal(handle.closed, undefined, "whole messages hold nothing, and few are cut");
  cut(1);
  assert.equal(handle.closed, "at once");
});

test("the call that holds most is ended when a budget is full", () => {
  const { admission, refused, connect, call } = world({
    bufferedBytesMax: 1000,
    bufferedBytesPerAddressMax: 800,
    bufferedBytesPerConnectionMax: 500,
  });
  const one = connect().connection;
  const small = call(one);
  const large = call(one);
  assert.ok(large.stream.received(message(400)));
  small.stream.received(message(100));
  assert.equal(small.stream.received(message(50)), true, "the larger one has to go");
  assert.equal(large.handle.refused?.facts?.["limit"], "buffered_bytes_per_connection");
  assert.equal(large.stream.received(message(10)), false);
  const other = connect("10.0.0.2");
  const writer = call(other.connection);
  writer.stream.queued(450);
  assert.equal(admission.gauges().underPressure, true);
  assert.equal(other.handle.window, 64 * 1024);
  writer.stream.sent(450);
  small.stream.consumed(150);
  admission.sweep(1000, 0);
  assert.equal(admission.gauges().underPressure, false);
  assert.equal(admission.gauges().bufferedBytes, 0);
  assert.deepEqual(refused, ["buffered_bytes_per_connection"]);
});

test("what is held is what the open calls hold, whatever happens", () => {
  const action = fc.tuple(
    fc.constantFrom("received", "consumed", "queued", "sent", "closed", "open"),
    fc.nat(5),
    fc.integer({ min: 5, max: 200 }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
      const { admission, connect, call } = world({
        bufferedBytesMax: 2000,
        bufferedBytesPerConnectionMax: 900,
      });
      const connections = [connect().connection, connect("10.0.0.2").connection];
      let open: { stream: AdmittedStream; queued: number[] }[] = [];
      for (const [what, which, bytes] of actions) {
        const one = open[which % Math.max(1, open.length)];
        if (what === "open" || one === undefined) {
          const connection = connections[which % 2] as AdmittedConnection;
          open.push({ stream: call(connection).stream, queued: [] });
        } else if (what === "received") one.stream.received(message(bytes));
        else if (what === "consumed") one.stream.consumed(bytes);
        else if (what === "queued") {
          one.stream.queued(bytes);
          one.queued.push(bytes);
        } else if (what === "sent") {
          const sent = one.queued.shift();
          if (sent !== undefined) one.stream.sent(sent);
        } else {
          one.stream.closed();
          open = open.filter((other) => other !== one);
        }
        const held = open.reduce((sum, { stream }) => sum + stream.buffered, 0);
        assert.equal(admission.gauges().bufferedBytes, held);
        assert.equal(admission.gauges().streams, open.length);
        assert.ok(held <= 2000);
      }
    }),
  );
});

test("silence, trickles and slow readers are ended; a client that waits for us is not", () => {
  const { admission, refused, connect, call } = world();
  const { connection } = connect();
  const mute = call(connection);
  const half = call(connection);
  half.stream.received(message(100).subarray(0, 50));
  const trickle = call(connection);
  const done = call(connection);
  done.stream.received(message(100));
  const ours = call(connection);
  ours.stream.received(message(100).subarray(0, 50));
  ours.handle.unread = 1;
  const slow = call(connection);
  slow.stream.received(message(5));
  slow.stream.queued(10);
  for (let second = 1; second <= 130; second += 1) {
    trickle.stream.received(message(1000).subarray(second - 1, second));
    admission.sweep(second * 1000, 0);
  }
  const code = (one: { handle: FakeStream }) => one.handle.refused?.codeName;
  assert.deepEqual([mute, half, trickle, done, ours, slow].map(code), [
    "STREAM_PROTOCOL_VIOLATION",
    "STREAM_PROTOCOL_VIOLATION",
    "STREAM_PROTOCOL_VIOLATION",
    undefined,
    undefined,
    "ADMISSION_REJECTED",
  ]);
  assert.deepEqual(refused.toSorted(), [
    "request_timeout",
    "request_timeout",
    "request_timeout",
    "slow_reader",
  ]);
});

test("a message above its method's bound is refused at its prefix", () => {
  const { refused, connect, call } = world();
  const { handle, stream } = call(connect().connection, 50);
  assert.equal(stream.received(message(100).subarray(0, 5)), false);
  assert.equal(handle.refused?.code, ErrorCode.MESSAGE_TOO_LARGE);
  assert.deepEqual(refused, ["message_bytes"]);
});

test("a request that is cut off, has too many messages or none, or is compressed is refused", () => {
  const { refused, connect, call } = world();
  const { connection } = connect();
  const codeOf = (single: boolean, bytes: Uint8Array): string | undefined => {
    const { handle, stream } = call(connection, 1000, single);
    stream.received(bytes);
    stream.endOfInput();
    assert.equal(stream.failure, handle.refused);
    stream.closed();
    return handle.refused?.codeName;
  };
  const [one, two] = [message(10), message(20)];
  const none = Buffer.alloc(0);
  assert.equal(codeOf(true, one), undefined);
  assert.equal(codeOf(false, Buffer.concat([one, two])), undefined);
  assert.equal(codeOf(false, none), undefined);
  const bad = [none, one.subarray(0, 3), one.subarray(0, 7), Buffer.concat([one, two])];
  for (const bytes of bad) assert.equal(codeOf(true, bytes), "INVALID_REQUEST");
  assert.equal(codeOf(false, one.subarray(0, 7)), "INVALID_REQUEST");
  one[0] = 1;
  assert.equal(codeOf(true, one), "UNSUPPORTED_OPERATION");
  assert.deepEqual(refused, [...Array.from({ length: 5 }, () => "framing"), "encoding"]);
});

test("a call is ready with a whole message, its end, or enough of one; headers alone are not", () => {
  const { connect, call } = world();
  const { connection } = connect();
  const opened = (bytesMax?: number) => call(connection, bytesMax).stream;
  const whole = opened();
  whole.received(message(20).subarray(0, 19));
  assert.equal(whole.ready, false);
  whole.received(Buffer.alloc(1));
  assert.equal(whole.ready, true);
  const ended = opened();
  assert.equal(ended.ready, false);
  ended.endOfInput();
  assert.equal(ended.ready, true);
  const large = opened(1_000_000);
  large.received(message(500_000).subarray(0, beginBytes - 1));
  assert.equal(large.ready, false);
  large.received(Buffer.alloc(1));
  assert.equal(large.ready, true);
});

test("a connection's window grows with the bytes that handlers took, not with those that came", () => {
  const { connect, call } = world();
  const { handle, connection } = connect();
  const { stream } = call(connection, 64 * 1024 * 1024);
  const batch = message(firstConnectionWindowBytes);
  stream.received(batch);
  assert.equal(handle.connectionWindow, 0);
  stream.consumed(batch.length - 1);
  assert.equal(handle.connectionWindow, 0);
  stream.consumed(1);
  assert.equal(handle.connectionWindow, 2 * firstConnectionWindowBytes);
  for (let taken = 0; taken < connectionWindowBytes; taken += batch.length) {
    stream.received(batch);
    stream.consumed(batch.length);
  }
  assert.equal(handle.connectionWindow, connectionWindowBytes);
  const one = connect();
  const unary = call(one.connection, 64 * 1024 * 1024, true);
  unary.stream.received(message(5 * firstConnectionWindowBytes));
  unary.stream.finished();
  assert.equal(one.handle.connectionWindow, 8 * firstConnectionWindowBytes, "by as much at once");
});

test("connections that say nothing, idle, or send only frames are closed", () => {
  const { admission, refused, connect, call } = world();
  const silent = new FakeConnection();
  admission.connect("10.0.0.9", silent);
  const pings = connect();
  const frames = connect();
  const busy = connect();
  call(busy.connection).stream.received(message(5));
  for (let i = 0; i < 5001; i += 1) pings.connection.controlFrame();
  for (let second = 1; second <= 700; second += 1) {
    frames.handle.read += 3_000_000;
    busy.handle.read += 1_000_000;
    admission.sweep(second * 1000, 0);
  }
  assert.deepEqual(
    [silent.closed, pings.handle.closed, frames.handle.closed, busy.handle.closed],
    ["at once", "at once", "at once", undefined],
  );
  assert.deepEqual(refused, ["control_frames", "overhead_bytes", "preface"]);
  busy.connection.closed();
  const idle = connect();
  admission.sweep(800_000, 0);
  admission.sweep(1_500_000, 0);
  assert.equal(idle.handle.closed, "politely");
});

test("an event loop that is late lets nobody in, and those who are in go on", () => {
  const { admission, refused, connect } = world();
  const { connection } = connect();
  admission.sweep(1000, 300);
  assert.equal(connect().connection, undefined);
  assert.ok(
    connection.open("/s/m", { bytesMax: 1, single: false }, new FakeStream()) instanceof
      MillraceError,
  );
  admission.sweep(2000, 10);
  assert.ok(connect().connection);
  assert.deepEqual(refused, ["event_loop_delay", "event_loop_delay"]);
});

test("one host of IPv6 has a /64 to itself", () => {
  assert.equal(addressKey("10.1.2.3"), "10.1.2.3");
  assert.equal(addressKey("::ffff:10.1.2.3"), "10.1.2.3");
  assert.equal(addressKey("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  assert.equal(addressKey("2001:db8::1"), "2001:db8:0:0::/64");
  assert.equal(addressKey("fe80::1%eth0"), "fe80:0:0:0::/64");
  assert.equal(addressKey("::1"), "0:0:0:0::/64");
});
