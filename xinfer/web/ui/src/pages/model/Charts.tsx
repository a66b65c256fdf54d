import { useQueries } from "@tanstack/react-query";
import { useMemo } from "react";

import { api, data, type Schemas } from "../../api/client";
import { Chart, type Line } from "../../charts/Chart";
import { useText } from "../../i18n";
import type { Key } from "../../i18n/en";
import type { Replica } from "../../stream/fold";

type Series = Schemas["Series"];
const COLOURS = ["#1c8f7a", "#c2691c", "#6a5acd", "#2f7fc1", "#b8385e", "#6b8e23"];
/** Name, title, what it is multiplied by, and the least height of its axis. */
const FIGURES: readonly (readonly [string, Key, number, number])[] = [
  ["busy", "model.busy", 1, 0.1],
  ["items", "model.rate", 1, 1],
  ["queue", "model.queued", 1, 1],
  ["p95", "model.p95", 1000, 10],
];
const EVERY = 5000;

/** Columns of several replicas on one time axis; null where one was not measured. */
export function aligned(series: readonly Series[], name: string, scale: number): { at: number[]; columns: (number | null)[][] } {
  const at = [...new Set(series.flatMap((it) => it.at.map((moment) => Math.round(moment / 2) * 2)))].sort((a, b) => a - b);
  const columns = series.map((it) => {
    const known = new Map(it.at.map((moment, place) => [Math.round(moment / 2) * 2, it.values[name]?.[place] ?? null]));
    return at.map((moment) => {
      const value = known.get(moment) ?? null;
      return value === null ? null : value * scale;
    });
  });
  return { at, columns };
}

export function Charts({ replicas }: { replicas: readonly Replica[] }) {
  const text = useText();
  const workers = useMemo(() => [...new Set(replicas.map((it) => it.worker_id).filter(Boolean))], [replicas]);
  const found = useQueries({
    queries: workers.map((worker) => ({
      queryKey: ["series", worker],
      queryFn: () => data(api.GET("/v1/cluster/series", { params: { query: { worker } } })),
      refetchInterval: EVERY,
    })),
    combine: (results) => results.flatMap((it) => it.data?.replicas ?? []),
  });
  const names = useMemo(() => replicas.map((it) => it.replica_model_uid), [replicas]);
  const own = useMemo(() => names.map((name) => found.find((it) => it.key === name)).filter((it) => it !== undefined), [found, names]);
  return (
    <section className="panel" aria-label={text("model.charts")}>
      <h2>{text("model.charts")}</h2>
      <div style={{ display: "grid", gridTemplateColumns: "repeat(auto-fit, minmax(min(100%, 320px), 1fr))", gap: 12 }}>
        {FIGURES.map(([name, key, scale, least]) => <Figure key={name} title={text(key)} series={own} name={name} scale={scale} least={least} />)}
      </div>
    </section>
  );
}

function Figure({ title, series, name, scale, least }: { title: string; series: readonly Series[]; name: string; scale: number; least: number }) {
  const { at, lines } = useMemo(() => {
    const { at: moments, columns } = aligned(series, name, scale);
    return { at: moments, lines: series.map((it, place): Line => ({ label: it.key, values: columns[place] ?? [], colour: COLOURS[place % COLOURS.length] ?? "#888" })) };
  }, [series, name, scale]);
  return <Chart title={title} at={at} lines={lines} least={least} />;
}
