#!/bin/sh
# One record in, and all records out, by reflection: no .proto file, no stubs. ADDRESS TOPIC
set -eu
address=$1 topic=$2
value=$(printf %s "hello from grpcurl" | base64)
grpcurl -plaintext -d "{\"topic\": \"$topic\", \"records\": [{\"value\": \"$value\"}]}" \
  "$address" millrace.broker.v1.ProduceService/ProduceOnce
grpcurl -plaintext -d "{\"topic\": \"$topic\", \"decode\": true}" \
  "$address" millrace.broker.v1.FetchService/FetchOnce
