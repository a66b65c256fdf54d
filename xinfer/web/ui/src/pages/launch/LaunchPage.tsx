import { Alert, Button, Group, Stack } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { useLocation, useNavigate } from "react-router-dom";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import { bytes } from "../../i18n/format";
import { useView } from "../../stream/hooks";
import { Failure } from "../Failure";
import { Code } from "./Code";
import { type Draft, draftOf, type LaunchRequest, named, NEW, requestOf } from "./draft";
import { HowForm } from "./HowForm";
import { PinTable } from "./PinTable";
import { usePlan } from "./plan";
import { WhatForm } from "./WhatForm";

const Where = lazy(() => import("./Where").then((it) => ({ default: it.Where })));

export function LaunchPage() {
  const text = useText();
  const { state } = useLocation() as { state: { again?: LaunchRequest } | null };
  const [draft, setDraft] = useState<Draft>(() => (state?.again ? draftOf(state.again) : NEW));
  const request = useMemo(() => requestOf(draft), [draft]);
  const go = useNavigate();
  const launch = useMutation({
    mutationFn: () => data(api.POST("/v1/models", { params: { query: { wait_ready: false } }, body: request as never })) as Promise<{ model_uid: string }>,
    onSuccess: ({ model_uid }) => go(`/launches/${encodeURIComponent(model_uid)}`, { state: { request } }),
  });
  const { plan, planning, error } = usePlan(named(draft) ? request : null, launch.isPending || launch.isSuccess);
  return (
    <Stack gap="sm">
      <h1>{text("launch.title")}</h1>
      <div className="sides">
        <Stack gap="sm">
          <WhatForm draft={draft} change={setDraft} />
          <HowForm draft={draft} change={setDraft} engines={useEngines()} />
        </Stack>
        <Stack gap="sm" miw={0}>
          <section className="panel">
            <Verdict draft={draft} plan={plan} planning={planning} error={error} />
            <Go draft={draft} launch={launch} ready={named(draft) && plan?.fits === true && !planning} />
          </section>
          <Suspense><Where draft={draft} change={setDraft} plan={plan} /></Suspense>
          <PinTable draft={draft} change={setDraft} plan={plan} />
          <Code request={request} />
        </Stack>
      </div>
    </Stack>
  );
}

function useEngines(): string[] {
  const { cluster } = useView();
  return useMemo(() => [...new Set([...cluster.workers.values()].flatMap((worker) => worker.engines))].sort(), [cluster.workers]);
}

function Verdict({ draft, plan, planning, error }: { draft: Draft } & ReturnType<typeof usePlan>) {
  const text = useText();
  if (!named(draft)) return <p className="quiet" style={{ margin: 0 }}>{text("launch.choose")}</p>;
  if (error) return <Failure error={error} />;
  if (!plan) return <p className="quiet" style={{ margin: 0 }} role="status">{text("launch.planning")}</p>;
  const help = plan.hint || [...new Set(plan.refused.map((it) => it.hint))].filter(Boolean).slice(0, 3).join(" ");
  if (plan.fits)
    return (
      <div role="status" data-fits="true" style={{ opacity: planning ? 0.6 : 1 }}>
        {text("launch.fits", { memory: bytes(plan.memory_per_device_bytes) })} <span className="quiet">{plan.model_name}, {plan.model_engine}, {plan.dtype}</span>
      </div>
    );
  return (
    <Alert color="red" variant="light" title={text("launch.fitsnot")} role="alert" data-fits="false">
      <div className="wrap">{plan.reason}</div>
      {help && <div className="wrap">{text("launch.help", { hint: help })}</div>}
      {plan.refused.length > 0 && (
        <details>
          <summary>{text("launch.refused")}</summary>
          <ul>{plan.refused.slice(0, 100).map((it) => <li key={it.slot} className="wrap"><span className="mono">{it.slot}</span> {it.reason} {it.hint}</li>)}</ul>
        </details>
      )}
    </Alert>
  );
}

interface Launching { isPending: boolean; isSuccess: boolean; error: Error | null; mutate: () => void }

function Go({ draft, launch, ready }: { draft: Draft; launch: Launching; ready: boolean }) {
  const text = useText();
  return (
    <Group mt="sm">
      <Button disabled={!ready || launch.isSuccess} loading={launch.isPending} onClick={() => launch.mutate()}>{text(launch.isPending ? "launch.going" : "launch.go")}</Button>
      <span className="quiet small">{draft.pins.length} × {draft.source === "registered" ? draft.name : draft.path}</span>
      {launch.error && <Failure error={launch.error} />}
    </Group>
  );
}

export function useRegistered(type: "rerank" | "embedding") {
  return useQuery({
    queryKey: ["registrations", type],
    queryFn: () => data(api.GET("/v1/model_registrations/{model_type}", { params: { path: { model_type: type } } })),
    staleTime: 300_000,
  });
}
