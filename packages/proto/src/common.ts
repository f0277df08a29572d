/** Generated messages of `millrace.common.v1`. */
export * from "../gen/millrace/common/v1/common_pb.js";
export * from "../gen/millrace/common/v1/errors_pb.js";
export * from "../gen/millrace/common/v1/rebalance_pb.js";
