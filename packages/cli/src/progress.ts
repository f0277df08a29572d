/** What a status line says of records that go by: how many, how fast, how far, how long still. */
import { digitsText } from "@millrace/errors";

/** Time over which a rate is taken, milliseconds. */
const windowMs = 5_000;

/** `4.2 k`, `1.3 M`: three digits at most. */
const shortNumber = (value: number): string => {
  for (const [unit, size] of [
    [" M", 1e6],
    [" k", 1e3],
  ] as const) {
    if (value >= size) return `${(value / size).toFixed(value / size < 10 ? 1 : 0)}${unit}`;
  }
  return value.toFixed(value < 10 && value > 0 ? 1 : 0);
};

/** `45 s`, `2 min 5 s`, `3 h 10 min`. */
export const timeLeftText = (seconds: number): string => {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min ${s % 60} s`;
  return `${Math.floor(min / 60)} h ${min % 60} min`;
};

interface Sample {
  readonly atMs: number;
  readonly records: number;
  readonly bytes: number;
  readonly done: number;
}

export class Progress {
  readonly #nowMs: () => number;
  readonly #total: number | undefined;
  #records = 0;
  #bytes = 0;
  #done = 0;
  #samples: Sample[];

  /** `total`: of whatever `took` counts as done; undefined where nobody knows. */
  constructor(nowMs: () => number, total?: number) {
    this.#nowMs = nowMs;
    this.#total = total;
    this.#samples = [{ atMs: nowMs(), records: 0, bytes: 0, done: 0 }];
  }

  get records(): number {
    return this.#records;
  }

  took(records: number, bytes: number, done: number): void {
    this.#records += records;
    this.#bytes += bytes;
    this.#done += done;
  }

  /** `12,345 records, 4.2 k/s, 1.2 MB/s, 40 %, 12 s left`. */
  text(): string {
    const now = {
      atMs: this.#nowMs(),
      records: this.#records,
      bytes: this.#bytes,
      done: this.#done,
    };
    this.#samples.push(now);
    // One stays that is as old as the window.
    while ((this.#samples[1]?.atMs ?? now.atMs) < now.atMs - windowMs) this.#samples.shift();
    const before = this.#samples[0] ?? now;
    const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1000);
    const rate = (now.records - before.records) / seconds;
    const megabytes = (now.bytes - before.bytes) / seconds / 1e6;
    const unit = now.records === 1 ? "record" : "records";
    const parts = [`${digitsText(now.records)} ${unit}`];
    parts.push(`${shortNumber(rate)}/s`, `${megabytes.toFixed(1)} MB/s`);
    if (this.#total !== undefined && this.#total > 0) {
      parts.push(`${Math.min(100, Math.floor((now.done / this.#total) * 100))} %`);
      const doneRate = (now.done - before.done) / seconds;
      const left = this.#total - now.done;
      if (doneRate > 0 && left > 0) parts.push(`${timeLeftText(left / doneRate)} left`);
    }
    return parts.join(", ");
  }
}
