/** A launch as it would be typed. */
import type { LaunchRequest } from "./draft";

const SAFE = /^[\w@%+=:,./-]+$/;

export function quoted(text: string): string {
  return SAFE.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

const FLAGS: Partial<Record<keyof LaunchRequest, string>> = {
  model_name: "-n",
  model_path: "-mp",
  model_type: "-t",
  model_uid: "-u",
  model_engine: "--model-engine",
  model_format: "--model-format",
  quantization: "--quantization",
  dtype: "--dtype",
  memory: "--memory",
  replica: "--replica",
  min_replica: "--min-replica",
  max_replica: "--max-replica",
  idle_seconds: "--idle",
  n_gpu: "--n-gpu",
  gpu_idx: "--gpu-idx",
  worker_ip: "--worker-ip",
  download_hub: "--download-hub",
  trust_remote_code: "--trust-remote-code",
  packages: "--packages",
  options: "--option",
  slots: "--pin",
};

/** Fields that have no flag go into a file; JSON is YAML. */
export function asCli(request: LaunchRequest, origin: string): string {
  const words = ["xinfer", "launch", "-e", quoted(origin)];
  const known = Object.keys(FLAGS) as (keyof LaunchRequest)[];
  for (const field of known) words.push(...flagged(field, FLAGS[field] ?? "", request[field]));
  const others = Object.entries(request).filter(([field]) => !(field in FLAGS));
  if (!others.length) return words.join(" ");
  return `echo ${quoted(JSON.stringify(Object.fromEntries(others)))} > launch.yaml\n${words.join(" ")} --file launch.yaml`;
}

function flagged(field: keyof LaunchRequest, flag: string, value: unknown): string[] {
  if (value === null || value === undefined || value === false) return [];
  if (value === true) return [flag];
  if (field === "gpu_idx") return [flag, quoted([value].flat().map(String).join(","))];
  if (Array.isArray(value)) return value.flatMap((one) => [flag, worded(one)]);
  if (typeof value === "object") return Object.entries(value).flatMap(([key, one]) => [flag, quoted(`${key}=${plain(one)}`)]);
  return [flag, worded(value)];
}

function worded(value: unknown): string {
  return quoted(plain(value));
}

function plain(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
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
  if (typeof value === "object") return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${literal(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}
