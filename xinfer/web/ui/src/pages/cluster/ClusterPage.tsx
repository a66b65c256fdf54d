import { Anchor, Button, Code, Group, Stack } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { Link } from "react-router-dom";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import { colourOf } from "../../slots/slot";
import { SlotMap } from "../../slots/SlotMap";
import type { Worker } from "../../stream/fold";
import { useModels, useView } from "../../stream/hooks";
import { Failure } from "../Failure";

export function ClusterPage() {
  const text = useText();
  const { cluster, line } = useView();
  const replicas = [...cluster.replicas.values()];
  const devices = [...cluster.workers.values()].reduce((sum, worker) => sum + worker.devices.length, 0);
  const waiting = replicas.filter((replica) => !replica.worker_id && replica.phase === "queued");
  const ready = replicas.filter((replica) => replica.phase === "ready").length;
  return (
    <Stack gap="sm">
      <Group justify="space-between">
        <h1>{text("cluster.title")}</h1>
        <span className="quiet">{text("cluster.summary", { workers: cluster.workers.size, devices, ready, replicas: replicas.length })}</span>
      </Group>
      <Models />
      {waiting.length > 0 && (
        <section className="panel">
          <h2>{text("cluster.waiting")}</h2>
          {waiting.map((replica) => <div key={replica.replica_model_uid} className="wrap small"><b>{replica.replica_model_uid}</b> {replica.error_message}</div>)}
        </section>
      )}
      {line === "live" && cluster.workers.size === 0 && (
        <section className="panel">
          <p>{text("cluster.empty")} {text("cluster.join")}</p>
          <Code block>xinfer-worker --endpoint {location.origin} --host ADDRESS</Code>
        </section>
      )}
      <SlotMap actions={drainButton} />
    </Stack>
  );
}

const drainButton = (worker: Worker) => <Drain worker={worker} />;

function Models() {
  const text = useText();
  const models = useModels();
  return (
    <section className="panel" aria-label={text("cluster.models")}>
      <Group gap="xs">
        <b>{text("cluster.models")}</b>
        {models.map((model) => (
          <Link key={model.model_uid} className="chip" data-phase="ready" style={{ color: colourOf(model.model_uid) }} to={`/models/${encodeURIComponent(model.model_uid)}`}>
            {model.model_uid} × {model.replica}{model.status ? ` · ${model.status}` : ""}
          </Link>
        ))}
        {models.length === 0 && <span className="quiet">{text("cluster.nomodel")} <Anchor component={Link} to="/launch" underline="always">{text("cluster.first")}</Anchor></span>}
      </Group>
    </section>
  );
}

function Drain({ worker }: { worker: Worker }) {
  const text = useText();
  const undo = worker.state === "draining";
  const drain = useMutation({ mutationFn: () => data(api.POST("/v1/workers/{worker}/drain", { params: { path: { worker: worker.address } }, body: { undo } })) });
  if (worker.state !== "alive" && !undo) return null;
  return (
    <Group gap="xs" ml="auto">
      {drain.isError && <Failure error={drain.error} />}
      <Button size="compact-xs" variant="default" loading={drain.isPending} onClick={() => drain.mutate()}>{text(undo ? "worker.undo" : "worker.drain")}</Button>
    </Group>
  );
}
