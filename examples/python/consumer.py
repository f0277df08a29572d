"""Prints a topic from the start, and then waits for more; --until-end ends there. ADDRESS TOPIC"""
import os
import queue
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "stubs"))
import batches  # noqa: E402
import leaders  # noqa: E402
from millrace.broker.v1 import fetch_pb2 as f, fetch_pb2_grpc as fg  # noqa: E402
from millrace.broker.v1 import log_pb2 as l, log_pb2_grpc as lg  # noqa: E402

address, topic = sys.argv[1:3]
until_end = "--until-end" in sys.argv
window = 1 << 20


def fail(partition, message):
    print(f"partition {partition}: {message}", file=sys.stderr)
    # From any thread.
    os._exit(1)


def check(partition, error):
    if error.code:
        fail(partition, error.message)


def decoded(partition, batch):
    try:
        return list(batches.decode(batch))
    except ValueError as error:
        fail(partition, error)


def read(channel, numbers):
    queries = [l.ListOffsetsQuery(topic=topic, partition=n, spec=l.OFFSET_SPEC_EARLIEST) for n in numbers]
    found = lg.LogServiceStub(channel).ListOffsets(l.ListOffsetsRequest(queries=queries)).results
    starts = {}
    for number, one in zip(numbers, found):
        check(number, one.error)
        starts[number] = one.offset
    # Cursors are numbered as their partitions; a number may not be used again on the stream.
    cursors = [
        f.FetchCursor(cursor_id=n, topic=topic, partition=n, offset=starts[n], grant_bytes=window)
        for n in numbers
    ]
    outgoing = queue.Queue()
    outgoing.put(f.FetchRequest(open=f.FetchOpen(client_id="example-python"), add=cursors))
    behind = set(numbers)
    for reply in fg.FetchServiceStub(channel).Fetch(iter(outgoing.get, None)):
        check(reply.cursor_id, reply.error)
        for batch in reply.batches:
            for offset, record in decoded(reply.cursor_id, batch):
                # The first batch may begin before the offset asked for.
                if offset < starts[reply.cursor_id]:
                    continue
                print(reply.cursor_id, offset, record.key.decode(), record.value.decode(), flush=True)
        if reply.batches:
            used = sum(batch.ByteSize() for batch in reply.batches)
            outgoing.put(f.FetchRequest(grants=[f.FetchGrant(cursor_id=reply.cursor_id, bytes=used)]))
        if reply.HasField("cursor_id") and reply.next_offset >= reply.high_watermark:
            behind.discard(reply.cursor_id)
        if until_end and not behind:
            outgoing.put(None)


for each in leaders.find(address, topic):
    threading.Thread(target=read, args=each).start()
