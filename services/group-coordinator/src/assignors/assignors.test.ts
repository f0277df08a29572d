/** What every assignor promises, whatever the group. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { range, uniform } from "./index.ts";
import { after, groupOf, ownersOf, reordered, requests, subscribed, topicId } from "./testing.ts";

const sizes = { members: 6, topics: 4, partitions: 7, racks: ["r1", "r2", "r3"] };
const any = fc.oneof(requests({ ...sizes, alike: true }), requests({ ...sizes, alike: false }));

for (const assignor of [uniform, range]) {
  test(`${assignor.name}: every partition of a subscribed topic goes to one subscriber`, () => {
    fc.assert(
      fc.property(any, (request) => {
        const target = assignor.assign(request);
        assert.deepEqual([...target.keys()].sort(), [...request.members.keys()].sort());
        const owners = ownersOf(target);
        const wanted = subscribed(request);
        assert.deepEqual([...owners.keys()].sort(), [...wanted.keys()].sort());
        for (const [place, id] of owners) assert.ok(wanted.get(place)?.includes(id), place);
        for (const assignment of target.values()) {
          for (const list of assignment.values()) {
            assert.deepEqual(
              list,
              list.toSorted((a, b) => a - b),
            );
            assert.notEqual(list.length, 0);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  test(`${assignor.name}: the order of the request does not matter`, () => {
    fc.assert(
      fc.property(any, (request) => {
        const [one, other] = [assignor.assign(request), assignor.assign(reordered(request))];
        assert.deepEqual([...one], [...other]);
        for (const [id, assignment] of one) {
          assert.deepEqual([...assignment], [...(other.get(id) ?? [])]);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test(`${assignor.name}: what it has assigned stays when nothing has changed`, () => {
    fc.assert(
      fc.property(any, (request) => {
        const target = assignor.assign(request);
        assert.deepEqual([...assignor.assign(after(request, target))], [...target]);
      }),
      { numRuns: 2000 },
    );
  });

  test(`${assignor.name}: a group without members or topics`, () => {
    assert.deepEqual(assignor.assign({ members: new Map(), topics: new Map() }), new Map());
    const alone = groupOf([0], { a: [] });
    assert.deepEqual(assignor.assign(alone), new Map([["a", new Map()]]));
    const member = { topicIds: new Set([topicId(7)]), assigned: new Map([[topicId(7), [0]]]) };
    const unknown = { members: new Map([["a", member]]), topics: new Map() };
    assert.deepEqual(assignor.assign(unknown), new Map([["a", new Map()]]));
  });
}
