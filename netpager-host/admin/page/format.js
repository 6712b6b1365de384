// Numbers as people read them. Each returns [number, unit], or with `text` the two together.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const DECIMAL = ["", "k", "M", "G"];

function scaled(number, step, units) {
  let unit = 0;
  while (number >= step - 0.5 && unit + 1 < units.length) {
    number /= step;
    unit += 1;
  }
  const digits = unit === 0 || number >= 99.95 ? 0 : 1;
  return [number.toFixed(digits), units[unit]];
}

export const bytes = (count) => scaled(count, 1024, BINARY);
export const rate = (perSecond) => {
  const [number, unit] = scaled(perSecond, 1024, BINARY);
  return [number, `${unit}/s`];
};
export const count = (number) => scaled(number, 1000, DECIMAL);

export function latency(microseconds) {
  if (microseconds === null || microseconds === undefined) return ["–", ""];
  if (microseconds < 9.95) return [microseconds.toFixed(1), "µs"];
  if (microseconds < 999.5) return [microseconds.toFixed(0), "µs"];
  if (microseconds < 9995) return [(microseconds / 1e3).toFixed(2), "ms"];
  if (microseconds < 999500) return [(microseconds / 1e3).toFixed(0), "ms"];
  return [(microseconds / 1e6).toFixed(1), "s"];
}

export const text = ([number, unit]) => (unit ? `${number} ${unit}` : number);

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds / 60) % 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds / 3600) % 24)} h`;
}

export const clock = (milliseconds) => new Date(milliseconds).toLocaleTimeString([], { hour12: false });

/** A name for display: the empty one has a name, too. */
export const name = (given) => (given === "" ? "(empty name)" : given);

/** Reads 4096, 256M or 4GiB; undefined if it is none. */
export function parseSize(given) {
  const match = /^\s*(\d+)\s*([kmgt]?)(i?b)?\s*$/i.exec(given);
  if (!match || (match[3]?.toLowerCase() === "b" && match[2])) return undefined;
  const size = Number(match[1]) * 1024 ** (" kmgt".indexOf(match[2].toLowerCase() || " "));
  return Number.isSafeInteger(size) && size > 0 ? size : undefined;
}
