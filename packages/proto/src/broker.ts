/** Generated messages and service descriptors of `millrace.broker.v1`. */
export * from "../gen/millrace/broker/v1/fetch_pb.js";
export * from "../gen/millrace/broker/v1/log_pb.js";
export * from "../gen/millrace/broker/v1/produce_pb.js";
export * from "../gen/millrace/broker/v1/replication_pb.js";
