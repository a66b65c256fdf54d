import { Anchor, Button, Group, Progress, Stack, Stepper } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useLocation, useNavigate, useParams } from "react-router-dom";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import type { Key } from "../../i18n/en";
import { bytes, seconds } from "../../i18n/format";
import { slotOf } from "../../slots/slot";
import type { Replica } from "../../stream/fold";
import { useReplicas, useView } from "../../stream/hooks";
import { Failure } from "../Failure";
import { LogTail } from "../logs/LogTail";
import type { LaunchRequest } from "../launch/draft";

const STAGES = ["queued", "spawning", "fetching", "loading", "warming_up", "ready"] as const;

/** How far a launch has come; all of it from the stream, so that a reload changes nothing. */
export function ProgressPage() {
  const text = useText();
  const uid = useParams()["*"] ?? "";
  const { cluster, line } = useView();
  const replicas = useReplicas(uid);
  const { state } = useLocation() as { state: { request?: LaunchRequest } | null };
  const model = cluster.models.get(uid);
  const go = useNavigate();
  const cancel = useMutation({ mutationFn: () => data(api.POST("/v1/models/{model_uid}/cancel", { params: { path: { model_uid: uid } } })) });
  const ready = replicas.length > 0 && replicas.every((it) => it.phase === "ready");
  const failed = replicas.some((it) => it.phase === "failed");
  if (!model && line === "live" && cluster.epoch > 0)
    return (
      <Stack>
        <h1>{text("progress.title", { model: uid })}</h1>
        <p role="status">{text(cancel.isSuccess ? "progress.cancelled" : "progress.gone", { model: uid })}</p>
        <Group><Button onClick={() => void go("/launch", { state: state?.request ? { again: state.request } : null })}>{text("progress.retry")}</Button></Group>
      </Stack>
    );
  return (
    <Stack>
      <Group justify="space-between">
        <h1>{text("progress.title", { model: uid })}</h1>
        <Group gap="xs">
          {ready && <Anchor component={Link} to={`/playground?model=${encodeURIComponent(uid)}`}>{text("progress.try")}</Anchor>}
          <Anchor component={Link} to={`/models/${encodeURIComponent(uid)}`}>{text("progress.open")}</Anchor>
          {!ready && <Button variant="default" loading={cancel.isPending} onClick={() => cancel.mutate()}>{text("progress.cancel")}</Button>}
        </Group>
      </Group>
      {cancel.isError && <Failure error={cancel.error} />}
      <p role="status" style={{ margin: 0 }} data-done={ready || undefined}>{ready ? text("progress.done") : failed ? text("progress.failed") : ""}</p>
      {replicas.map((replica) => <Start key={replica.replica_model_uid} replica={replica} />)}
    </Stack>
  );
}

function Start({ replica }: { replica: Replica }) {
  const text = useText();
  const { cluster } = useView();
  const phase = text(`phase.${replica.phase}` as Key);
  const stage = replica.phase === "installing_packages" ? 1 : STAGES.indexOf(replica.phase as (typeof STAGES)[number]);
  const slot = slotOf(cluster.workers.get(replica.worker_id), replica);
  return (
    <section className="panel" data-replica={replica.replica_model_uid} data-phase={replica.phase} aria-label={replica.replica_model_uid}>
      <Group justify="space-between">
        <strong>{replica.replica_model_uid} <span className="quiet mono">{slot}</span></strong>
        <span>{phase} {replica.since ? <Elapsed since={replica.since} /> : null}</span>
      </Group>
      <Progress value={replica.progress * 100} my="xs" aria-label={`${replica.replica_model_uid}: ${phase}`} color={replica.phase === "failed" ? "red" : "brand"} />
      {stage >= 0 && (
        <Stepper active={stage === STAGES.length - 1 ? STAGES.length : stage} size="xs" aria-label={text("progress.stages")} visibleFrom="sm">
          {STAGES.map((name) => <Stepper.Step key={name} label={text(`phase.${name}` as Key)} />)}
        </Stepper>
      )}
      {replica.download_files?.map((file) => (
        <div key={file.name} className="small quiet wrap">{file.name}: {bytes(file.done_bytes)}{file.total_bytes ? ` / ${bytes(file.total_bytes)}` : ""}</div>
      ))}
      {replica.error_message && <Failure error={new Error(replica.error_message)} />}
      <details open={replica.phase === "failed"}>
        <summary>{text("progress.logs", { n: replica.replica_id })}</summary>
        <LogTail modelUid={replica.model_uid} replica={replica.replica_model_uid} />
      </details>
    </section>
  );
}

function Elapsed({ since }: { since: number }) {
  const text = useText();
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now() / 1000), 500);
    return () => clearInterval(timer);
  }, []);
  return <span className="quiet">· {text("progress.elapsed", { time: seconds(now - since) })}</span>;
}
