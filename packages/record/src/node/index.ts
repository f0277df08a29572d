export { nodeCompressor, syncCompressor } from "./compressor.ts";
