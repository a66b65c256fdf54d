import { useText } from "../i18n";
import { bytes } from "../i18n/format";
import type { Replica } from "../stream/fold";
import { colourOf, type Device, type Ghost, takes } from "./slot";

/** A device's memory, split by replica; what a launch would take is hatched. */
export function MemoryBar({ device, replicas, ghosts }: { device: Device; replicas: readonly Replica[]; ghosts: readonly Ghost[] }) {
  const text = useText();
  const total = device.total_bytes || 1;
  const used = replicas.reduce((sum, replica) => sum + takes(replica), 0);
  const coming = ghosts.reduce((sum, ghost) => sum + ghost.bytes, 0);
  const label = text("device.memory", { used: bytes(used + coming), total: bytes(device.total_bytes) });
  return (
    <div>
      <div className="bar" role="img" aria-label={label}>
        {replicas.map((replica) => (
          <span key={replica.replica_model_uid} style={{ width: `${(100 * takes(replica)) / total}%`, background: colourOf(replica.model_uid) }} />
        ))}
        {ghosts.map((ghost) => (
          <span key={ghost.ordinal} className="ghost-part" style={{ width: `${(100 * ghost.bytes) / total}%`, backgroundColor: "var(--mantine-color-brand-6)" }} />
        ))}
      </div>
      <div className="small quiet">{label}</div>
    </div>
  );
}
