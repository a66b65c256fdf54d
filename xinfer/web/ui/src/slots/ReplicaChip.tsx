import { Link } from "react-router-dom";

import { useText } from "../i18n";
import type { Key } from "../i18n/en";
import type { Replica } from "../stream/fold";
import { useReadings } from "../stream/hooks";
import { colourOf } from "./slot";

export function ReplicaChip({ replica }: { replica: Replica }) {
  const text = useText();
  const readings = useReadings(replica.worker_id);
  const queue = readings.at(-1)?.replicas.find((it) => it.replica_model_uid === replica.replica_model_uid)?.queue ?? 0;
  const phase = text(`phase.${replica.phase}` as Key);
  const percent = replica.phase !== "ready" && replica.progress ? ` ${Math.round(replica.progress * 100)} %` : "";
  const proven = replica.phase !== "ready" || (replica.seen_uuids?.length ?? 0) > 0;
  return (
    <Link
      className={`chip ${replica.phase === "ready" ? "" : "chip-moving"}`}
      data-phase={replica.phase}
      data-replica={replica.replica_model_uid}
      to={`/models/${encodeURIComponent(replica.model_uid)}`}
      style={{ color: colourOf(replica.model_uid) }}
      title={[`${replica.replica_model_uid}: ${phase}`, replica.error_message, proven ? "" : text("replica.notproven")].filter(Boolean).join("\n")}
    >
      {replica.replica_model_uid} · {phase}{percent}{queue > 0 ? ` · ${text("replica.queue", { queue })}` : ""}
    </Link>
  );
}
