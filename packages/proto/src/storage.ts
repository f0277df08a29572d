/** Generated messages of `millrace.storage.v1`. */
export * from "../gen/millrace/storage/v1/group_pb.js";
export * from "../gen/millrace/storage/v1/metadata_pb.js";
export * from "../gen/millrace/storage/v1/rebalance_pb.js";
export * from "../gen/millrace/storage/v1/record_pb.js";
export * from "../gen/millrace/storage/v1/side_files_pb.js";
