import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { atOnce, Pace } from "../../steps.ts";
import { FlowNetwork } from "./max-flow.ts";

const nodes = 6;
const [source, sink] = [0, nodes - 1];

type Edge = readonly [from: number, to: number, capacity: number];

/** What the edges that leave a set of nodes can take, of the set where that is least. */
const leastCut = (edges: readonly Edge[]): number => {
  let least = Number.POSITIVE_INFINITY;
  for (let set = 0; set < 1 << nodes; set += 1) {
    const has = (node: number): boolean => (set & (1 << node)) !== 0;
    if (!has(source) || has(sink)) continue;
    const cut = edges.filter(([from, to]) => has(from) && !has(to));
    least = Math.min(
      least,
      cut.reduce((sum, [, , capacity]) => sum + capacity, 0),
    );
  }
  return least;
};

test("the largest flow is the smallest cut, and nothing is lost on the way", () => {
  const node = fc.nat(nodes - 1);
  const edge: fc.Arbitrary<Edge> = fc.tuple(node, node, fc.nat(5)).filter(([a, b]) => a !== b);
  fc.assert(
    fc.property(fc.array(edge, { maxLength: 16 }), (edges) => {
      const network = new FlowNetwork();
      for (let i = 0; i < nodes; i += 1) assert.equal(network.addNode(), i);
      const numbers = edges.map(([from, to, capacity]) => network.addEdge(from, to, capacity));
      atOnce(network.maximise(source, sink, new Pace()));
      const gained = Array.from({ length: nodes }, () => 0);
      for (const [i, [from, to, capacity]] of edges.entries()) {
        const flow = network.flow(numbers[i] ?? 0);
        assert.ok(flow >= 0 && flow <= capacity);
        gained[from] = (gained[from] ?? 0) - flow;
        gained[to] = (gained[to] ?? 0) + flow;
      }
      const least = leastCut(edges);
      assert.deepEqual(gained, [0 - least, ...Array.from({ length: nodes - 2 }, () => 0), least]);
    }),
    { numRuns: 1000 },
  );
});
