import assert from "node:assert/strict";
import { test } from "node:test";
import { durationText, parseBytes, parseDurationMs } from "./units.ts";

test("sizes: every unit, binary and decimal, in any case, with and without a space", () => {
  const units = Object.entries({
    ...{ "": 1, b: 1, k: 1024, kib: 1024, kb: 1000 },
    ...{ m: 1024 ** 2, mib: 1024 ** 2, mb: 1000 ** 2, g: 1024 ** 3, gib: 1024 ** 3 },
    ...{ gb: 1000 ** 3, t: 1024 ** 4, tib: 1024 ** 4, tb: 1000 ** 4 },
  });
  for (const [unit, bytes] of units) {
    for (const text of [`3${unit}`, `3 ${unit.toUpperCase()}`, `  3  ${unit} `, `3.0${unit}`]) {
      assert.equal(parseBytes(text), 3 * bytes, text);
    }
  }
  assert.equal(parseBytes("1.25KiB"), 1280);
  assert.equal(parseBytes("0.5k"), 512);
  assert.equal(parseBytes("-1"), -1);
  assert.equal(parseBytes("-2k"), -2048);
});

test("durations: every unit", () => {
  const units = Object.entries({
    "": 1,
    ms: 1,
    s: 1000,
    m: 60_000,
    min: 60_000,
    h: 3_600_000,
    d: 86_400_000,
  });
  for (const [unit, ms] of units) {
    for (const text of [`3${unit}`, `3 ${unit.toUpperCase()}`]) {
      assert.equal(parseDurationMs(text), 3 * ms, text);
    }
  }
  assert.equal(parseDurationMs("1.5h"), 5_400_000);
  assert.equal(parseDurationMs("-1"), -1);
});

test("durations are shown in the largest unit that says exactly as much, and read back", () => {
  for (const [ms, text] of [
    [0, "0 ms"],
    [1500, "1,500 ms"],
    [5000, "5 s"],
    [90_000, "90 s"],
    [300_000, "5 min"],
    [3_600_000, "1 h"],
    [604_800_000, "7 d"],
  ] as const) {
    assert.equal(durationText(ms), text);
    assert.equal(parseDurationMs(text.replace(",", "")), ms);
  }
});

test("what is no size or duration, and what is no whole safe number, is refused", () => {
  const bad = ["", " ", "k", "ms", "1x", "x1", "1 k 2", "1kk", "1..5k", "1.k", ".5k", "--1", "+1"];
  for (const text of [
    ...bad,
    "1e3",
    "0x10",
    "1,000",
    "1_000",
    "∞",
    "NaN",
    "1\nk\n1",
    "a1k",
    "1.5",
  ]) {
    assert.equal(parseBytes(text), undefined, JSON.stringify(text));
    assert.equal(parseDurationMs(text), undefined, JSON.stringify(text));
  }
  assert.equal(parseBytes("0.0001k"), undefined);
  assert.equal(parseBytes("8191t"), 8191 * 1024 ** 4);
  assert.equal(parseBytes("8192t"), undefined);
  assert.equal(parseDurationMs("9007199254740991"), Number.MAX_SAFE_INTEGER);
  assert.equal(parseDurationMs("9007199254740992"), undefined);
  assert.equal(parseBytes("1ms"), undefined);
  assert.equal(parseDurationMs("1kib"), undefined);
});
