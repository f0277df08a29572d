/** Generated messages and service descriptors of `millrace.metadata.v1`. */
export * from "../gen/millrace/metadata/v1/metadata_pb.js";
