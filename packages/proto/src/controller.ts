/** Generated messages and service descriptors of `millrace.controller.v1`. */
export * from "../gen/millrace/controller/v1/admin_pb.js";
export * from "../gen/millrace/controller/v1/brokers_pb.js";
export * from "../gen/millrace/controller/v1/maintenance_pb.js";
export * from "../gen/millrace/controller/v1/rebalance_pb.js";
export * from "../gen/millrace/controller/v1/replicas_pb.js";
