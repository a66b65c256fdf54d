import { useText } from "../i18n";
import { useReadings } from "../stream/hooks";
import { POINTS } from "../stream/store";
import type { Reading } from "../stream/fold";

const [WIDTH, HEIGHT] = [POINTS, 16];

/** How busy a device was: what it says itself, else the busiest replica on it. */
export function shares(readings: readonly Reading[], uuid: string, replicas: readonly string[]): (number | null)[] {
  return readings.map((reading) => {
    const own = reading.devices.find((device) => device.uuid === uuid)?.utilization;
    if (own != null) return own;
    const busy = reading.replicas.filter((replica) => replicas.includes(replica.replica_model_uid)).map((replica) => replica.busy);
    return busy.length ? Math.min(1, busy.reduce((sum, share) => sum + share, 0)) : null;
  });
}

export function Sparkline({ workerId, uuid, replicas }: { workerId: string; uuid: string; replicas: readonly string[] }) {
  const text = useText();
  const points = shares(useReadings(workerId), uuid, replicas);
  const last = points.at(-1);
  const path = points.map((share, place) => `${WIDTH - points.length + place},${HEIGHT - 1 - (share ?? 0) * (HEIGHT - 2)}`).join(" ");
  const said = last == null ? text("device.unknown") : text("device.use", { share: Math.round(last * 100) });
  return (
    <div style={{ display: "flex", gap: 6, alignItems: "center" }}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width="100%" height={HEIGHT} preserveAspectRatio="none" role="img" aria-label={`${text("device.curve")}: ${said}`}>
        <polyline points={path} fill="none" stroke="var(--mantine-color-brand-6)" strokeWidth="1.2" vectorEffect="non-scaling-stroke" />
      </svg>
      <span className="small quiet" style={{ whiteSpace: "nowrap" }}>{said}</span>
    </div>
  );
}
