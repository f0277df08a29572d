// Package batches has what the stubs do not bring: the partition of a key, and batches of records.
package batches

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	storagev1 "millrace.dev/proto/millrace/storage/v1"
)

// Murmur2 is Kafka's (seed 0x9747b28c).
func Murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	for i := len(data) - 1; i >= 0; i-- {
		h ^= uint32(data[i]) << (8 * i)
	}
	if len(data) > 0 {
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// PartitionOf is the partition of a key.
func PartitionOf(key []byte, partitions int) uint32 {
	return (Murmur2(key) & 0x7fffffff) % uint32(partitions)
}

// Encode makes a batch of records, all with the present time.
func Encode(records []*storagev1.Record) (*storagev1.RecordBatch, error) {
	set, err := proto.Marshal(&storagev1.RecordSet{Records: records})
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixMilli()
	body, err := proto.Marshal(&storagev1.BatchBody{
		RecordCount:     proto.Uint32(uint32(len(records))),
		BaseTimestampMs: &now,
		MaxTimestampMs:  &now,
		Records:         set,
	})
	return &storagev1.RecordBatch{Body: body}, err
}

// Decode returns the records of a batch that is not compressed, each with its offset_delta.
func Decode(batch *storagev1.RecordBatch) ([]*storagev1.Record, error) {
	var body storagev1.BatchBody
	if err := proto.Unmarshal(batch.GetBody(), &body); err != nil || body.GetControl() != 0 {
		return nil, err
	}
	var set storagev1.RecordSet
	if body.GetCompression() > storagev1.Compression_COMPRESSION_NONE {
		return nil, fmt.Errorf("a batch is compressed: %s", body.GetCompression())
	}
	err := proto.Unmarshal(body.GetRecords(), &set)
	for i, record := range set.GetRecords() {
		if record.OffsetDelta == nil {
			record.OffsetDelta = proto.Uint32(uint32(i))
		}
	}
	return set.GetRecords(), err
}
