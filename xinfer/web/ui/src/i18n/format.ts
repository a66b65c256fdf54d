/** Sizes and times for people. */
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

export function bytes(size: number): string {
  let [amount, unit] = [size, 0];
  while (Math.abs(amount) >= 1000 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const text = unit > 0 && Math.abs(amount) < 100 ? amount.toFixed(1).replace(/\.0$/, "") : Math.round(amount).toString();
  return `${text} ${UNITS[unit] ?? ""}`;
}

export function seconds(length: number): string {
  const whole = Math.max(0, Math.floor(length));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString(undefined, { hour12: false });
}

export function milliseconds(value: number | null | undefined): string {
  return value == null ? "–" : value < 0.01 ? `${(value * 1000).toFixed(1)} ms` : `${Math.round(value * 1000)} ms`;
}
