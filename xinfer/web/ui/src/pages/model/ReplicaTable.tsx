import { Badge, Button, Group, Table } from "@mantine/core";
import { useState } from "react";

import { useText } from "../../i18n";
import type { Key } from "../../i18n/en";
import { bytes, milliseconds } from "../../i18n/format";
import { slotOf } from "../../slots/slot";
import type { Model, Replica } from "../../stream/fold";
import { useReadings, useView } from "../../stream/hooks";
import { LogTail } from "../logs/LogTail";
import { MoveDialog, StopDialog } from "./dialogs";

const HEADS: readonly Key[] = ["common.replica", "common.status", "model.slot", "model.queue", "model.latency", "model.rate", "model.memory", "model.restarts", "model.actions"];

export function ReplicaTable({ model, replicas }: { model: Model; replicas: readonly Replica[] }) {
  const text = useText();
  return (
    <section className="panel scroll" aria-label={text("common.replicas")}>
      <Table verticalSpacing={4}>
        <Table.Thead><Table.Tr>{HEADS.map((key) => <Table.Th key={key}>{text(key)}</Table.Th>)}</Table.Tr></Table.Thead>
        <Table.Tbody>{replicas.map((it) => <Row key={it.replica_model_uid} replica={it} pinned={model.pinned?.includes(it.replica_model_uid) ?? false} />)}</Table.Tbody>
      </Table>
    </section>
  );
}

function Row({ replica, pinned }: { replica: Replica; pinned: boolean }) {
  const text = useText();
  const { cluster } = useView();
  const [asking, setAsking] = useState<"stop" | "move" | null>(null);
  const reading = useReadings(replica.worker_id).at(-1)?.replicas.find((it) => it.replica_model_uid === replica.replica_model_uid);
  const colour = { ready: "brand", failed: "red", backoff: "red" }[replica.phase] ?? "gray";
  const slot = slotOf(cluster.workers.get(replica.worker_id), replica);
  const close = () => setAsking(null);
  return (
    <>
      <Table.Tr data-replica={replica.replica_model_uid} data-phase={replica.phase}>
        <Table.Td>{replica.replica_model_uid}</Table.Td>
        <Table.Td><Badge size="sm" variant="light" color={colour}>{text(`phase.${replica.phase}` as Key)}</Badge></Table.Td>
        <Table.Td className="mono" title={replica.seen_uuids?.length ? `${text("model.proof")}: ${replica.seen_uuids.join(", ")}` : text("replica.notproven")}>{slot || "–"} {pinned && <Badge size="xs" variant="outline">{text("model.pinned")}</Badge>}</Table.Td>
        <Table.Td>{reading?.queue ?? "–"}</Table.Td>
        <Table.Td>{milliseconds(reading?.p50)} / {milliseconds(reading?.p95)}</Table.Td>
        <Table.Td>{reading ? reading.items.toFixed(1) : "–"}</Table.Td>
        <Table.Td title={bytes(replica.reserved_bytes)}>{replica.used_bytes?.length ? bytes(Math.max(...replica.used_bytes)) : "–"}</Table.Td>
        <Table.Td data-restarts={replica.restarts}>{replica.restarts}</Table.Td>
        <Table.Td>
          <Group gap={4} wrap="nowrap">
            <Button size="compact-xs" variant="default" onClick={() => setAsking("move")} disabled={replica.phase !== "ready"}>{text("model.move")}</Button>
            <Button size="compact-xs" variant="default" onClick={() => setAsking("stop")}>{text("model.stopone")}</Button>
          </Group>
          {asking === "stop" && <StopDialog replica={replica} close={close} />}
          {asking === "move" && <MoveDialog replica={replica} close={close} />}
        </Table.Td>
      </Table.Tr>
      {replica.error_message && (
        <Table.Tr data-reason={replica.replica_model_uid}>
          <Table.Td colSpan={HEADS.length}>
            <div className="wrap"><b>{text("model.reason")}:</b> {replica.error_message}</div>
            <details>
              <summary>{text("model.last")}</summary>
              <LogTail modelUid={replica.model_uid} replica={replica.replica_model_uid} lines={20} />
            </details>
          </Table.Td>
        </Table.Tr>
      )}
    </>
  );
}
