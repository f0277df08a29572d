/** Sizes as people read them. */

/** A whole number with its thousands apart: `1,048,588`. */
export const digitsText = (value: number): string =>
  String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",");

const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/** Bytes: `8 MiB` where a unit says exactly as much, else `3,000,000 bytes`. */
export const sizeText = (bytes: number): string => {
  let [value, power] = [bytes, 0];
  while (value >= 1024 && value % 1024 === 0 && power < units.length) {
    value /= 1024;
    power += 1;
  }
  if (power > 0) return `${digitsText(value)} ${units[power - 1]}`;
  return `${digitsText(value)} ${value === 1 ? "byte" : "bytes"}`;
};
