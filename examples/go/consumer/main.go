// Prints one partition from its start, and then waits for more. ADDRESS TOPIC [PARTITION [--until-end]]
//
// ADDRESS is the partition's leader: the standalone server is that of every partition.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"

	"example/batches"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	brokerv1 "millrace.dev/proto/millrace/broker/v1"
)

const window = 1 << 20

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	address, topic, partition := os.Args[1], os.Args[2], 0
	if len(os.Args) > 3 {
		number, err := strconv.Atoi(os.Args[3])
		check(err)
		partition = number
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	found, err := brokerv1.NewLogServiceClient(connection).ListOffsets(
		context.Background(), &brokerv1.ListOffsetsRequest{Queries: []*brokerv1.ListOffsetsQuery{{
			Topic: topic, Partition: uint32(partition), Spec: brokerv1.OffsetSpec_OFFSET_SPEC_EARLIEST,
		}}})
	check(err)
	if found.Results[0].Error != nil {
		log.Fatal(found.Results[0].Error.Message)
	}
	start := found.Results[0].GetOffset()
	stream, err := brokerv1.NewFetchServiceClient(connection).Fetch(context.Background())
	check(err)
	cursor := &brokerv1.FetchCursor{
		CursorId: 1, Topic: topic, Partition: uint32(partition), Offset: start, GrantBytes: window,
	}
	check(stream.Send(&brokerv1.FetchRequest{
		Open: &brokerv1.FetchOpen{ClientId: "example-go"}, Add: []*brokerv1.FetchCursor{cursor},
	}))
	for {
		reply, err := stream.Recv()
		if err == io.EOF {
			return
		}
		check(err)
		if reply.Error != nil {
			log.Fatalf("%s: %s", reply.Error.Code, reply.Error.Message)
		}
		used := 0
		for _, batch := range reply.Batches {
			records, err := batches.Decode(batch)
			check(err)
			for _, record := range records {
				offset := batch.GetBaseOffset() + uint64(record.GetOffsetDelta())
				// The first batch may begin before the offset asked for.
				if offset < start {
					continue
				}
				fmt.Printf("%d %d %s %s\n", partition, offset, record.Key, record.Value)
			}
			used += proto.Size(batch)
		}
		// What was read may be sent again, so the grant never ends.
		if used > 0 {
			grant := &brokerv1.FetchGrant{CursorId: 1, Bytes: uint64(used)}
			check(stream.Send(&brokerv1.FetchRequest{Grants: []*brokerv1.FetchGrant{grant}}))
		}
		if len(os.Args) > 4 && reply.CursorId != nil && reply.GetNextOffset() >= reply.GetHighWatermark() {
			check(stream.CloseSend())
			return
		}
	}
}
