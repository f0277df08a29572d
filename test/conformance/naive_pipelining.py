"""Writes 200 requests of 1 MB to a produce stream before it reads any result. ADDRESS TOPIC STUBS."""
import sys
import threading
import time

import grpc

address, topic, stubs = sys.argv[1:4]
sys.path.insert(0, stubs)
from millrace.broker.v1 import produce_pb2 as p, produce_pb2_grpc as pg  # noqa: E402
from millrace.storage.v1 import record_pb2 as r  # noqa: E402

count = 200
written = threading.Event()
now = int(time.time() * 1000)
records = r.RecordSet(records=[r.Record(value=b"x" * 1_000_000)]).SerializeToString()
body = r.BatchBody(record_count=1, base_timestamp_ms=now, max_timestamp_ms=now, records=records)
batch = r.RecordBatch(body=body.SerializeToString())


def requests():
    yield p.ProduceRequest(open=p.ProduceOpen(client_id="python"))
    for i in range(count):
        yield p.ProduceRequest(request_id=i, topic=topic, batch=batch)
    written.set()


with grpc.insecure_channel(address) as channel:
    replies = pg.ProduceServiceStub(channel).Produce(requests())
    assert written.wait(120), "the server takes no more requests"
    results = [one for reply in replies for one in reply.results]
assert all(one.error.code == 0 for one in results), [one.error for one in results if one.error.code]
assert sorted(one.request_id for one in results) == list(range(count))
print("acknowledged", len(results))
