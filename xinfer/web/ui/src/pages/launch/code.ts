/** A launch as it would be typed. */
import type { LaunchRequest } from "./draft";

const SAFE = /^[\w@%+=:,./-]+$/;

export function quoted(text: string): string {
  return SAFE.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const FLAGS: readonly (readonly [keyof LaunchRequest, string])[] = [
  ["model_name", "-n"],
  ["model_path", "-mp"],
  ["model_type", "-t"],
  ["model_uid", "-u"],
  ["model_engine", "--model-engine"],
  ["dtype", "--dtype"],
  ["memory", "--memory"],
  ["replica", "--replica"],
];

export function asCli(request: LaunchRequest, origin: string): string {
  const words = ["xinfer", "launch", "-e", quoted(origin)];
  for (const [field, flag] of FLAGS) {
    const value = request[field];
    if (typeof value === "string" || typeof value === "number") words.push(flag, quoted(String(value)));
  }
  for (const slot of request.slots ?? []) words.push("--pin", quoted(slot));
  return words.join(" ");
}

export function asCurl(request: LaunchRequest, origin: string): string {
  return `curl ${quoted(`${origin}/v1/models`)} -H 'content-type: application/json' \\\n  -d ${quoted(JSON.stringify(request))}`;
}

export function asPython(request: LaunchRequest, origin: string): string {
  const fields = Object.entries(request).map(([name, value]) => `        ${name}=${literal(value)},`);
  return `import xinfer\n\nwith xinfer.Client(${literal(origin)}) as client:\n    client.launch(\n${fields.join("\n")}\n    )\n`;
}

/** JSON is Python but for these. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  return JSON.stringify(value);
}
