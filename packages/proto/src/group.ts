/** Generated messages and service descriptors of `millrace.group.v1`. */
export * from "../gen/millrace/group/v1/group_pb.js";
