import { Badge, Table } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import type { Key } from "../../i18n/en";
import { clock } from "../../i18n/format";
import type { Change } from "../../stream/fold";
import { useView } from "../../stream/hooks";
import { Failure } from "../Failure";

export interface Filter {
  model?: string;
  worker?: string;
  level?: string;
}

export interface Entry {
  id: string;
  at: number;
  level: string;
  text: string;
  key: string;
  model: string;
  worker: string;
}

const SHOWN = 300;

/** What was kept before this page came, and what has come since: each once, newest first. */
export function merged(epoch: number, kept: readonly Entry[], changes: readonly Change[], filter: Filter): Entry[] {
  const known = new Set(kept.map((entry) => entry.id));
  const fresh = changes.filter((change) => change.text && !known.has(`${epoch}-${change.number}`)).map((change) => ({
    id: `${epoch}-${change.number}`,
    at: change.at,
    level: change.level,
    text: change.text,
    key: change.key,
    model: change.kind === "model" ? change.key : (change.replica?.model_uid ?? (change.kind === "replica" ? change.key.replace(/-\d+$/, "") : "")),
    worker: change.kind === "worker" ? change.key : (change.replica?.worker_id ?? ""),
  }));
  return [...kept, ...fresh]
    .filter((it) => (!filter.model || it.model === filter.model) && (!filter.worker || it.worker === filter.worker) && (!filter.level || it.level === filter.level))
    .slice(-SHOWN)
    .reverse();
}

export function EventTable({ filter }: { filter: Filter }) {
  const text = useText();
  const { cluster, changes } = useView();
  const kept = useQuery({
    queryKey: ["history", cluster.epoch],
    enabled: cluster.epoch > 0,
    queryFn: () => data(api.GET("/v1/cluster/history", { params: { query: { limit: 500 } } })),
  });
  const before = useMemo(() => (kept.data?.data ?? []).map((it) => ({ ...it, model: it.model_uid, worker: it.worker_id })), [kept.data]);
  const entries = useMemo(() => merged(cluster.epoch, before, changes, filter), [cluster.epoch, before, changes, filter]);
  if (kept.isError) return <Failure error={kept.error} />;
  return (
    <div className="scroll">
      {entries.length === 0 && <p className="quiet">{text("logs.noevents")}</p>}
      <Table verticalSpacing={3} aria-label={text("logs.events")}>
        <Table.Thead><Table.Tr><Table.Th>{text("logs.time")}</Table.Th><Table.Th>{text("logs.level")}</Table.Th><Table.Th>{text("logs.what")}</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {entries.map((it) => (
            <Table.Tr key={it.id} data-event={it.id}>
              <Table.Td className="mono">{clock(it.at)}</Table.Td>
              <Table.Td><Badge size="xs" variant="light" color={{ info: "gray", warning: "orange", error: "red" }[it.level] ?? "gray"}>{text(`logs.${it.level}` as Key)}</Badge></Table.Td>
              <Table.Td className="wrap">{it.text}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
