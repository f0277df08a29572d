"""Writers from the .proto files alone that race for the end of a log. ADDRESS TOPIC STUBS."""
import queue
import sys
import time

import grpc

address, topic, stubs = sys.argv[1:4]
sys.path.insert(0, stubs)
from millrace.broker.v1 import produce_pb2 as p, produce_pb2_grpc as pg  # noqa: E402
from millrace.common.v1 import errors_pb2 as e  # noqa: E402
from millrace.metadata.v1 import metadata_pb2 as m, metadata_pb2_grpc as mg  # noqa: E402
from millrace.storage.v1 import record_pb2 as r  # noqa: E402

rounds = 20
channel = grpc.insecure_channel(address)
service = pg.ProduceServiceStub(channel)


class Writer:
    """An idempotent producer of one partition, with one request on the way."""

    def __init__(self):
        self.producer_id = service.InitProducerId(p.InitProducerIdRequest()).producer_id
        self.sequence = 0
        self.requests = queue.Queue()
        opening = p.ProduceOpen(client_id="python", required_features=["conditional-append"])
        self.requests.put(p.ProduceRequest(open=opening))
        self.replies = service.Produce(iter(self.requests.get, None))
        assert next(self.replies).opened.feature_level >= 3

    def send(self, expected, sequence):
        now = int(time.time() * 1000)
        records = r.RecordSet(records=[r.Record(value=b"%d" % self.producer_id)]).SerializeToString()
        body = r.BatchBody(
            record_count=1, base_timestamp_ms=now, max_timestamp_ms=now, records=records,
            producer_id=self.producer_id, producer_epoch=0, base_sequence=sequence)
        batch = r.RecordBatch(body=body.SerializeToString())
        self.requests.put(p.ProduceRequest(topic=topic, batch=batch, expected_end_offset=expected))

    def result(self):
        return next(one for reply in self.replies for one in reply.results)


writers = [Writer(), Writer()]
wins = 0
for end in range(rounds):
    for writer in writers:
        writer.send(end, writer.sequence)
    results = [writer.result() for writer in writers]
    won = [i for i, one in enumerate(results) if one.error.code == 0]
    assert len(won) == 1 and results[won[0]].base_offset == end, results
    lost = results[1 - won[0]].error
    assert lost.code == e.ERROR_CODE_END_OFFSET_MISMATCH and not lost.retriable, lost
    assert lost.actual_end_offset == end + 1, lost
    # The winner's answer may have been lost: it sends again, and is recognised.
    winner = writers[won[0]]
    winner.send(end, winner.sequence)
    again = winner.result()
    assert again.duplicate and again.base_offset == end, again
    winner.sequence += 1
    wins += 1

level = mg.MetadataServiceStub(channel).GetMetadata(m.GetMetadataRequest()).feature_level
record = r.Record(value=b"once")
once = p.ProduceOnceRequest(topic=topic, records=[record], expected_end_offset=rounds)
assert level >= 3 and service.ProduceOnce(once).base_offset == rounds
try:
    service.ProduceOnce(once)
    raise AssertionError("it was appended twice")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.ABORTED, error
print("won", wins, "of", rounds)
