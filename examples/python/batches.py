"""What the stubs do not bring: the partition of a key, and batches of records."""
import time

from millrace.storage.v1 import record_pb2 as storage


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (seed 0x9747b28c), unsigned."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def encode(records, **producer) -> storage.RecordBatch:
    """A batch of (key, value), all with the present time. `producer`: id, epoch, base sequence."""
    now = int(time.time() * 1000)
    made = [storage.Record(key=key, value=value) for key, value in records]
    body = storage.BatchBody(
        record_count=len(made),
        base_timestamp_ms=now,
        max_timestamp_ms=now,
        records=storage.RecordSet(records=made).SerializeToString(),
        **producer,
    )
    return storage.RecordBatch(body=body.SerializeToString())


def decode(batch):
    """(offset, record) of a batch that is not compressed."""
    body = storage.BatchBody.FromString(batch.body)
    if body.compression > storage.COMPRESSION_NONE:
        raise ValueError(f"a batch is compressed: {storage.Compression.Name(body.compression)}")
    if body.control == storage.CONTROL_KIND_UNSPECIFIED:
        for index, record in enumerate(storage.RecordSet.FromString(body.records).records):
            delta = record.offset_delta if record.HasField("offset_delta") else index
            yield batch.base_offset + delta, record
