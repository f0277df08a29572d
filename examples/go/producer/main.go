// Produces lines of standard input; in `key<TAB>value` the key chooses the partition. ADDRESS TOPIC
// Lines without a key go to partition 0.
//
// For a server that leads every partition, such as the standalone one. In a cluster, open a stream
// to the leader of each partition: GetMetadata says where it is.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"example/batches"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	brokerv1 "millrace.dev/proto/millrace/broker/v1"
	metadatav1 "millrace.dev/proto/millrace/metadata/v1"
	storagev1 "millrace.dev/proto/millrace/storage/v1"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	address, topic := os.Args[1], os.Args[2]
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	ctx := context.Background()
	request := &metadatav1.GetMetadataRequest{Topics: []string{topic}}
	metadata, err := metadatav1.NewMetadataServiceClient(connection).GetMetadata(ctx, request)
	check(err)
	if len(metadata.Topics) == 0 {
		log.Fatalf("topic %s does not exist", topic)
	}
	records := make([][]*storagev1.Record, len(metadata.Topics[0].Partitions))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		line := bytes.Clone(lines.Bytes())
		if key, value, found := bytes.Cut(line, []byte("\t")); found {
			at := batches.PartitionOf(key, len(records))
			records[at] = append(records[at], &storagev1.Record{Key: key, Value: value})
		} else {
			records[0] = append(records[0], &storagev1.Record{Value: line})
		}
	}

	stream, err := brokerv1.NewProduceServiceClient(connection).Produce(ctx)
	check(err)
	// Opened without acks: every record is fsynced by all in-sync replicas before its result.
	open := &brokerv1.ProduceOpen{ClientId: "example-go"}
	check(stream.Send(&brokerv1.ProduceRequest{Open: open}))
	go func() {
		for partition, list := range records {
			for len(list) > 0 {
				batch, err := batches.Encode(list[:min(1000, len(list))])
				check(err)
				check(stream.Send(&brokerv1.ProduceRequest{
					RequestId: uint64(partition), Topic: topic, Partition: uint32(partition), Batch: batch,
				}))
				list = list[min(1000, len(list)):]
			}
		}
		check(stream.CloseSend())
	}()
	for {
		reply, err := stream.Recv()
		if err == io.EOF {
			return
		}
		check(err)
		for _, one := range reply.Results {
			if one.Error != nil {
				log.Fatalf("partition %d: %s", one.RequestId, one.Error.Message)
			}
			fmt.Printf("partition %d from offset %d\n", one.RequestId, one.GetBaseOffset())
		}
	}
}
