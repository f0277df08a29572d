/** Times as Kubernetes writes them (RFC 3339, UTC). */

const dayMs = 86_400_000;

/** Year, month and day of a day since 1970; years begin in March, so that leap days end them. */
const dateOf = (day: number): string => {
  const shifted = day + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const leapDays =
    Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  const yearOfEra = Math.floor((dayOfEra - leapDays) / 365);
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const dayOfMonth = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${pad(year, 4)}-${pad(month, 2)}-${pad(dayOfMonth, 2)}`;
};

const pad = (value: number, digits: number): string => String(value).padStart(digits, "0");

const timeOf = (wallMs: number): string => {
  const seconds = Math.floor((wallMs % dayMs) / 1000);
  const minutes = Math.floor(seconds / 60);
  return `${pad(Math.floor(minutes / 60), 2)}:${pad(minutes % 60, 2)}:${pad(seconds % 60, 2)}`;
};

/** `metav1.Time`: whole seconds. */
export const timestamp = (wallMs: number): string =>
  `${dateOf(Math.floor(wallMs / dayMs))}T${timeOf(wallMs)}Z`;

/** `metav1.MicroTime`. */
export const microTimestamp = (wallMs: number): string =>
  `${dateOf(Math.floor(wallMs / dayMs))}T${timeOf(wallMs)}.${pad(Math.floor(wallMs) % 1000, 3)}000Z`;
