"""Reads a topic as a member of a group, from the start; the end of stdin ends it. ADDRESS TOPIC GROUP"""
import os
import queue
import sys
import threading
import time

import grpc

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "stubs"))
import leaders  # noqa: E402
from millrace.broker.v1 import fetch_pb2 as f, fetch_pb2_grpc as fg  # noqa: E402
from millrace.group.v1 import group_pb2 as g, group_pb2_grpc as gg  # noqa: E402
from millrace.metadata.v1 import metadata_pb2 as m, metadata_pb2_grpc as mg  # noqa: E402

address, topic, group = sys.argv[1:4]
led = {n: fg.FetchServiceStub(to) for to, numbers in leaders.find(address, topic) for n in numbers}
who = mg.MetadataServiceStub(grpc.insecure_channel(address))
at = who.GetMetadata(m.GetMetadataRequest(groups=[group]), timeout=10).coordinators[0].endpoint
outgoing, incoming, ended = queue.Queue(), queue.Queue(), threading.Event()
outgoing.put(g.JoinRequest(open=g.JoinOpen(group=group, topics=[topic])))
coordinator = gg.GroupServiceStub(grpc.insecure_channel(f"{at.host}:{at.port}"))
stream = coordinator.Join(iter(outgoing.get, None))
threading.Thread(target=lambda: [incoming.put(one) for one in stream], daemon=True).start()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
positions = {}
beat_s, spoke_at = 1, time.monotonic()


def commit():
    offsets = ((n, g.CommittedOffset(offset=offset)) for n, offset in positions.items())
    all = [g.PartitionOffset(partition=n, committed=offset) for n, offset in offsets]
    outgoing.put(g.JoinRequest(commit=g.JoinCommit(topics=[g.TopicOffsets(topic=topic, partitions=all)])))


while not ended.is_set() or incoming.qsize():
    if incoming.qsize() or not positions:
        reply = incoming.get()
        beat_s = reply.joined.heartbeat_interval_ms / 1000 or beat_s
        if reply.HasField("assignment"):
            commit()  # Before the report: it may give partitions back. The stream keeps the order.
            before, positions = positions, {}
            for one in [one for each in reply.assignment.topics for one in each.partitions]:
                kept = before.get(one.partition, 0)  # A position goes before what was read.
                positions[one.partition] = one.position.offset if one.HasField("position") else kept
            owned = [g.TopicPartitions(topic=topic, partitions=positions)]
            outgoing.put(g.JoinRequest(report=g.JoinReport(revision=reply.assignment.revision, owned=owned)))
    for n in positions:
        query = f.FetchOnceRequest(topic=topic, partition=n, offset=positions[n], max_wait_ms=20, decode=True)
        found = led[n].FetchOnce(query)
        for record in found.records:
            print(n, record.offset, record.key.decode(), record.value.decode(), flush=True)
        positions[n] = max(positions[n], found.next_offset)
    if time.monotonic() - spoke_at > beat_s / 2:  # Also a sign of life.
        commit()
        spoke_at = time.monotonic()
commit()
outgoing.put(g.JoinRequest(leave=g.JoinLeave()))
stream.code()  # Waits: the group knows that the member has left.
os._exit(0 if stream.code() == grpc.StatusCode.OK else 1)
