/** A plan as the slot map shows it. Pure. */
import type { Schemas } from "../../api/client";
import { bytes } from "../../i18n/format";
import type { Ghost, Verdict } from "../../slots/slot";

export type Plan = Schemas["PlanReply"];

/** ``ADDR@0,1`` as one slot for each device; the address may hold no "@" behind the last one. */
export function devicesOf(slot: string): string[] {
  const at = slot.lastIndexOf("@");
  return slot.slice(at + 1).split(",").map((index) => `${slot.slice(0, at)}@${index}`);
}

/** Where a replica is to be: its slot, as far as one is known, and whether the launch names it, here or in its other fields. */
export function placeOf(ordinal: number, own: string | null, plan: Plan | undefined): { slot: string | undefined; pinned: boolean } {
  const planned = plan?.fits ? plan.replicas[ordinal] : undefined;
  return { slot: own ?? planned?.slot, pinned: own !== null || planned?.pinned === true };
}

/** Replicas that would stand on each device. Without a plan that fits, those that are pinned. */
export function ghostsOf(plan: Plan | undefined, pins: readonly (string | null)[]): ReadonlyMap<string, readonly Ghost[]> {
  const found = new Map<string, Ghost[]>();
  const put = (slot: string, ghost: Ghost) => {
    for (const device of devicesOf(slot)) found.set(device, [...(found.get(device) ?? []), ghost]);
  };
  const planned = plan?.fits ? plan.replicas : [];
  pins.forEach((own, ordinal) => {
    const { slot, pinned } = placeOf(ordinal, own, plan);
    if (slot) put(slot, { ordinal, bytes: planned[ordinal]?.reserved_bytes ?? plan?.memory_per_device_bytes ?? 0, pinned });
  });
  return found;
}

/** Why each slot was chosen, or refused. */
export function verdictsOf(plan: Plan | undefined): ReadonlyMap<string, Verdict> {
  const found = new Map<string, Verdict>();
  if (!plan) return found;
  for (const refused of plan.refused)
    for (const device of devicesOf(refused.slot)) found.set(device, { fits: false, reason: [refused.reason, refused.hint].filter(Boolean).join("; ") });
  if (plan.fits)
    for (const replica of plan.replicas)
      for (const device of devicesOf(replica.slot)) found.set(device, { fits: true, reason: `${replica.why} (${bytes(replica.free_after_bytes)} free)` });
  return found;
}
