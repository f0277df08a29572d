"""Produces records of 100 bytes as fast as bare stubs go, idempotent. ADDRESS TOPIC [RECORDS]"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "stubs"))
import batches  # noqa: E402
import leaders  # noqa: E402
from millrace.broker.v1 import produce_pb2 as p, produce_pb2_grpc as pg  # noqa: E402

address, topic = sys.argv[1:3]
total = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
per_batch = 1000
# Partition 0 alone: for more partitions of more brokers, a stream like this one per broker.
channel = next(one for one, numbers in leaders.find(address, topic) if 0 in numbers)
service = pg.ProduceServiceStub(channel)
identity = service.InitProducerId(p.InitProducerIdRequest(client_id="example-python"))
# What is unanswered at most: the batches that a server surely knows again is 16.
room = threading.Semaphore(16)


def requests():
    yield p.ProduceRequest(open=p.ProduceOpen(client_id="example-python"))
    for first in range(0, total, per_batch):
        records = [(None, b"%0100d" % n) for n in range(first, min(first + per_batch, total))]
        batch = batches.encode(
            records,
            producer_id=identity.producer_id,
            producer_epoch=identity.producer_epoch,
            base_sequence=first,
        )
        room.acquire()
        yield p.ProduceRequest(request_id=first, topic=topic, order_epoch=1, batch=batch)


started = time.perf_counter()
for reply in service.Produce(requests()):
    for one in reply.results:
        if one.error.code:
            raise SystemExit(one.error.message)
        room.release()
seconds = time.perf_counter() - started
print(f"{total} records of 100 bytes acknowledged in {seconds:.2f} s: {total / seconds:.0f} records/s")
