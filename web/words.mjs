/** Numbers and states in words for people. */

/** @param {number} bytes */
export function bytesInWords(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  if (bytes >= 1e3) return `${Math.round(bytes / 1e3)} kB`;
  return `${bytes} bytes`;
}

/** RAM counts in binary units, as the guest and `memory="512M"` do. @param {number} bytes */
export function memoryInWords(bytes) {
  const gigabytes = bytes / 2 ** 30;
  if (gigabytes >= 1) return `${Number(gigabytes.toFixed(2))} GB`;
  return `${Math.round(bytes / 2 ** 20)} MB`;
}

/** @param {number} mips */
export function mipsInWords(mips) {
  return `${mips >= 10 ? Math.round(mips) : mips.toFixed(1)} MIPS`;
}

/** @param {number} seconds */
export function uptimeInWords(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (parts[0] === 0) parts.shift();
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : String(part))).join(":");
}

/**
 * @param {string} one
 * @param {number} count
 */
export function counted(count, one) {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}

/** @param {number} time seconds since the Unix epoch */
export function ageInWords(time) {
  const seconds = Math.max(0, Date.now() / 1000 - time);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${counted(Math.floor(seconds / 60), "minute")} ago`;
  if (seconds < 86400) return `${counted(Math.floor(seconds / 3600), "hour")} ago`;
  return `${counted(Math.floor(seconds / 86400), "day")} ago`;
}
