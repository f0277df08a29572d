/**
 * What a failure without a word from a Millrace server means, in words that name the server and no
 * library. grpc-js tells it in the text of its status alone.
 */

/** Of a connection that was there. */
const broken = new RegExp(
  [
    "\\bECONNRESET\\b|\\bEPIPE\\b|ERR_HTTP2|GOAWAY|socket hang up|Connection dropped",
    "the connection broke|Write (?:error|failed)|No status",
    "Failed to start HTTP/2|before call started",
  ].join("|"),
  "i",
);

/** What its texts contain, and what that means; the first that fits. */
const meanings: readonly (readonly [RegExp, string])[] = [
  [/\bECONNREFUSED\b/, "refuses connections: check that its server runs and listens there"],
  [
    /\bENOTFOUND\b|\bEAI_AGAIN\b|Name resolution failed|Failed to parse DNS/,
    "has a host name that cannot be resolved: check its spelling, and the DNS",
  ],
  [/\bETIMEDOUT\b|\bEHOSTUNREACH\b|\bENETUNREACH\b/, "cannot be reached: check the network"],
  [
    /Protocol error|HPE_|Parse Error|ERR_HTTP2_ERROR|ERR_SSL/i,
    "does not speak gRPC: give the port for clients of a Millrace server",
  ],
  [/Deadline exceeded/i, "did not answer in time: check the server and the network"],
  [broken, "broke the connection: check the server and the network"],
  [
    /No connection established|Failed to connect|Last error/,
    "cannot be connected to: check that a Millrace server listens there, and the network",
  ],
  [
    /does not implement the method/,
    "does not serve this call: give the port for clients of a Millrace server, or update it",
  ],
];

/** The text of a failure that no Millrace server has explained; `text` itself where it is clear. */
export const failureText = (endpoint: string, text: string): string => {
  for (const [sign, meaning] of meanings) if (sign.test(text)) return `${endpoint} ${meaning}`;
  return text;
};
