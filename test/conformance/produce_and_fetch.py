"""A client from the .proto files alone: produces over the stream, fetches over the stream. ADDRESS TOPIC STUBS."""
import queue
import sys
import time

import grpc

address, topic, stubs = sys.argv[1:4]
sys.path.insert(0, stubs)
from millrace.broker.v1 import fetch_pb2 as f, fetch_pb2_grpc as fg  # noqa: E402
from millrace.broker.v1 import produce_pb2 as p, produce_pb2_grpc as pg  # noqa: E402
from millrace.storage.v1 import record_pb2 as r  # noqa: E402

count = 1000
channel = grpc.insecure_channel(address)


def requests():
    yield p.ProduceRequest(open=p.ProduceOpen(client_id="python"))
    for i in range(count):
        now = int(time.time() * 1000)
        records = r.RecordSet(records=[r.Record(value=b"python %d" % i)]).SerializeToString()
        body = r.BatchBody(record_count=1, base_timestamp_ms=now, max_timestamp_ms=now, records=records)
        batch = r.RecordBatch(body=body.SerializeToString())
        yield p.ProduceRequest(request_id=i, topic=topic, batch=batch)


results = [one for reply in pg.ProduceServiceStub(channel).Produce(requests()) for one in reply.results]
assert all(one.error.code == 0 for one in results), results
first = min(one.base_offset for one in results)

grants = queue.Queue()
cursor = f.FetchCursor(cursor_id=1, topic=topic, offset=first, grant_bytes=1 << 20)
grants.put(f.FetchRequest(open=f.FetchOpen(client_id="python"), add=[cursor]))
values = []
for reply in fg.FetchServiceStub(channel).Fetch(iter(grants.get, None)):
    assert reply.error.code == 0, reply.error
    for batch in reply.batches:
        records = r.RecordSet.FromString(r.BatchBody.FromString(batch.body).records).records
        values += [record.value for record in records]
    grants.put(f.FetchRequest(grants=[f.FetchGrant(cursor_id=1, bytes=1 << 20)]))
    if len(values) >= count:
        break
grants.put(None)
assert values == [b"python %d" % i for i in range(count)]
print("acknowledged", len(results), "fetched", len(values))
