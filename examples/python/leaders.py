"""Finds the brokers that lead the partitions of a topic."""
import grpc

from millrace.metadata.v1 import metadata_pb2 as m, metadata_pb2_grpc as mg


def find(address: str, topic: str):
    """Channels by the numbers of the partitions that their brokers lead, as pairs."""
    with grpc.insecure_channel(address) as channel:
        request = m.GetMetadataRequest(topics=[topic])
        found = mg.MetadataServiceStub(channel).GetMetadata(request, timeout=10)
    if not found.topics:
        raise SystemExit(f"topic {topic} does not exist")
    led = {}
    for one in found.topics[0].partitions:
        if not one.HasField("leader"):
            raise SystemExit(f"partition {one.partition} has no leader at the moment: try again")
        led.setdefault(one.leader, []).append(one.partition)
    at = {one.broker_id: one.endpoint for one in found.brokers}
    return [
        (grpc.insecure_channel(f"[{at[id].host}]:{at[id].port}" if ":" in at[id].host
                               else f"{at[id].host}:{at[id].port}"), numbers)
        for id, numbers in led.items()
    ]
