"""Produces lines of standard input; in `key<TAB>value` the key chooses the partition.

ADDRESS TOPIC. Lines without a key go to partition 0.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "stubs"))
import batches  # noqa: E402
import leaders  # noqa: E402
from millrace.broker.v1 import produce_pb2 as p, produce_pb2_grpc as pg  # noqa: E402

address, topic = sys.argv[1:3]
brokers = leaders.find(address, topic)
count = sum(len(numbers) for _, numbers in brokers)

records = {number: [] for _, numbers in brokers for number in numbers}
for line in sys.stdin.buffer:
    key, tab, value = line.rstrip(b"\n").partition(b"\t")
    if tab:
        records[batches.partition_of(key, count)].append((key, value))
    else:
        records[0].append((None, key))


def requests(numbers):
    # Opened without acks: every record is fsynced by all in-sync replicas before its result.
    yield p.ProduceRequest(open=p.ProduceOpen(client_id="example-python"))
    for number in numbers:
        for first in range(0, len(records[number]), 1000):
            batch = batches.encode(records[number][first : first + 1000])
            yield p.ProduceRequest(request_id=number, topic=topic, partition=number, batch=batch)


for channel, numbers in brokers:
    for reply in pg.ProduceServiceStub(channel).Produce(requests(numbers)):
        for one in reply.results:
            if one.error.code:
                raise SystemExit(f"partition {one.request_id}: {one.error.message}")
            print(f"partition {one.request_id} from offset {one.base_offset}")
