/** What the slot map is made of. */
import type { Schemas } from "../api/client";
import type { Replica, Worker } from "../stream/fold";

export type Device = Schemas["DeviceFacts"];

/** A device of a worker, as the pages speak of it; the key is ``ADDR@0``, which is how pins are written too. */
export interface SlotRef {
  workerId: string;
  slot: string;
}

/** A replica that a launch would put on a device. */
export interface Ghost {
  ordinal: number;
  bytes: number;
  pinned: boolean;
}

/** Whether one more replica of what is being planned fits there. */
export interface Verdict {
  fits: boolean;
  reason: string;
}

/** Replicas by the uuid of each device they are on: where they report to be, else where they are bound to. */
export function byDevice(replicas: Iterable<Replica>): ReadonlyMap<string, readonly Replica[]> {
  const found = new Map<string, Replica[]>();
  for (const replica of replicas)
    for (const uuid of replica.seen_uuids?.length ? replica.seen_uuids : (replica.device_uuids ?? [])) {
      const there = found.get(uuid);
      if (there) there.push(replica);
      else found.set(uuid, [replica]);
    }
  return found;
}

/** What it takes of each of its devices. */
export function takes(replica: Replica): number {
  return replica.phase === "backoff" || replica.phase === "failed" || replica.phase === "queued" ? 0 : replica.reserved_bytes;
}

const HUES = [172, 28, 262, 205, 338, 96, 230, 52, 300, 140, 12, 188];

/** Each model has its colour, the same on every page. */
export function colourOf(model: string): string {
  let hash = 0;
  for (const letter of model) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  const hue = HUES[hash % HUES.length] ?? 172;
  return `light-dark(hsl(${hue} 55% 34%), hsl(${hue} 50% 66%))`;
}

export function slotOf(worker: Worker | undefined, replica: Replica): string {
  if (!worker) return "";
  const indices = (replica.device_uuids ?? []).map((uuid) => worker.devices.find((device) => device.uuid === uuid)?.index).filter((index) => index !== undefined);
  return indices.length ? `${worker.address}@${indices.join(",")}` : "";
}
