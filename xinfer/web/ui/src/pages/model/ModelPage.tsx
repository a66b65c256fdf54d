import { Anchor, Badge, Button, Group, Stack } from "@mantine/core";
import { lazy, Suspense, useMemo, useState } from "react";
import { Link, useNavigate, useParams } from "react-router-dom";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import type { Key } from "../../i18n/en";
import { colourOf } from "../../slots/slot";
import { useReplicas, useView } from "../../stream/hooks";
import { EventTable } from "../logs/EventTable";
import { AddDialog, Dialog } from "./dialogs";
import { ReplicaTable } from "./ReplicaTable";

const Charts = lazy(() => import("./Charts").then((it) => ({ default: it.Charts })));

export function ModelPage() {
  const text = useText();
  const uid = useParams()["*"] ?? "";
  const { cluster, line } = useView();
  const replicas = useReplicas(uid);
  const [asking, setAsking] = useState<"stop" | "add" | null>(null);
  const go = useNavigate();
  const filter = useMemo(() => ({ model: uid }), [uid]);
  const model = cluster.models.get(uid);
  if (!model) return line === "live" && cluster.epoch > 0 ? <Stack><h1>{text("model.title", { model: uid })}</h1><p role="status">{text("model.gone", { model: uid })}</p><EventTable filter={filter} /></Stack> : null;
  const close = () => setAsking(null);
  return (
    <Stack gap="sm">
      <Group justify="space-between">
        <Group gap="xs">
          <h1 style={{ color: colourOf(uid) }}>{text("model.title", { model: uid })}</h1>
          <span className="quiet">{text("model.facts", { type: text(`launch.type.${model.model_type}` as Key), engine: model.model_engine, dtype: model.dtype })}</span>
          {model.status === "asleep" && <Badge color="gray">{text("model.sleeps")}</Badge>}
          {model.status === "stopping" && <Badge color="orange">{text("model.stopping")}</Badge>}
        </Group>
        <Group gap="xs">
          <Anchor component={Link} to={`/playground?model=${encodeURIComponent(uid)}`}>{text("progress.try")}</Anchor>
          <Button size="xs" variant="default" onClick={() => setAsking("add")}>{text("model.add")}</Button>
          <Button size="xs" color="red" variant="light" onClick={() => setAsking("stop")}>{text("model.stop")}</Button>
        </Group>
      </Group>
      {model.dtype_why && <p className="quiet small" style={{ margin: 0 }}>{model.dtype_why}</p>}
      <ReplicaTable model={model} replicas={replicas} />
      <Suspense><Charts replicas={replicas} /></Suspense>
      <section className="panel"><h2>{text("model.events")}</h2><EventTable filter={filter} /></section>
      {asking === "add" && <AddDialog modelUid={uid} close={close} />}
      {asking === "stop" && <Dialog title={text("model.stop.sure", { model: uid })} go={text("model.stop")} close={close} act={() => data(api.DELETE("/v1/models/{model_uid}", { params: { path: { model_uid: uid } } })).then(() => go("/"))} />}
    </Stack>
  );
}
