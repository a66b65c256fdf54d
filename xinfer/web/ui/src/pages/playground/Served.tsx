import { useQuery } from "@tanstack/react-query";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";

interface Shard { replica_id: string; slot: string; items: number; compute_seconds: number }

/** Which replicas had a part in a request. */
export function summed(shards: readonly Shard[]): Shard[] {
  const found = new Map<string, Shard>();
  for (const shard of shards) {
    const known = found.get(shard.replica_id);
    found.set(shard.replica_id, known ? { ...known, items: known.items + shard.items, compute_seconds: known.compute_seconds + shard.compute_seconds } : shard);
  }
  return [...found.values()].sort((a, b) => a.replica_id.localeCompare(b.replica_id, undefined, { numeric: true }));
}

export function Served({ requestId }: { requestId: string }) {
  const text = useText();
  const why = useQuery({ queryKey: ["why", requestId], queryFn: () => data(api.GET("/v1/requests/{wanted_id}/why", { params: { path: { wanted_id: requestId } } })) as Promise<{ shards: Shard[] }>, staleTime: Infinity });
  return (
    <div className="small">
      <b>{text("play.served")}</b>
      <ul style={{ margin: "2px 0" }} data-served>
        {summed(why.data?.shards ?? []).map((it) => <li key={it.replica_id} data-replica={it.replica_id}>{text("play.share", { replica: it.replica_id, slot: it.slot, items: it.items, ms: Math.round(it.compute_seconds * 1000) })}</li>)}
      </ul>
    </div>
  );
}
