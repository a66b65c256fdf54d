import { Button, SegmentedControl, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { Dispatch, SetStateAction } from "react";

import { api, data } from "../../api/client";
import { useText } from "../../i18n";
import { clock } from "../../i18n/format";
import { type Draft, draftOf } from "./draft";
import { useRegistered } from "./LaunchPage";

export interface Editing {
  draft: Draft;
  change: Dispatch<SetStateAction<Draft>>;
}

export function WhatForm({ draft, change }: Editing) {
  const text = useText();
  const registered = useRegistered(draft.type);
  return (
    <section className="panel">
      <h2>{text("launch.what")}</h2>
      <SegmentedControl fullWidth size="xs" mb="xs" aria-label={text("launch.type")} value={draft.type} onChange={(type) => change({ ...draft, type: type, name: "" })}
        data={[{ value: "rerank", label: text("launch.type.rerank") }, { value: "embedding", label: text("launch.type.embedding") }]} />
      <SegmentedControl fullWidth size="xs" mb="xs" aria-label={text("launch.source")} value={draft.source} onChange={(source) => change({ ...draft, source: source })}
        data={[{ value: "registered", label: text("launch.registered") }, { value: "path", label: text("launch.path") }]} />
      {draft.source === "registered" ? (
        <Select searchable label={text("launch.search")} value={draft.name || null} onChange={(name) => change({ ...draft, name: name ?? "" })} data={(registered.data ?? []).map((it) => it.model_name)} comboboxProps={{ withinPortal: true }} />
      ) : (
        <TextInput label={text("launch.folder")} placeholder="/models/my-reranker" value={draft.path} onChange={(event) => change({ ...draft, path: event.currentTarget.value })} />
      )}
      <TextInput mt="xs" label={text("launch.uid")} description={text("launch.uid.help")} value={draft.uid} onChange={(event) => change({ ...draft, uid: event.currentTarget.value })} />
      <Recent change={change} />
    </section>
  );
}

/** Launches of before, by whomever; used again they can be changed first. */
function Recent({ change }: { change: (draft: Draft) => void }) {
  const text = useText();
  const recent = useQuery({ queryKey: ["launches"], queryFn: () => data(api.GET("/v1/launches", { params: { query: { limit: 8 } } })) });
  return (
    <details>
      <summary>{text("launch.recent")}</summary>
      {recent.data?.data.length === 0 && <p className="quiet small">{text("launch.history.none")}</p>}
      <ul style={{ listStyle: "none", padding: 0, margin: "6px 0" }}>
        {recent.data?.data.map((it) => (
          <li key={it.id} style={{ display: "flex", gap: 8, alignItems: "center", justifyContent: "space-between" }}>
            <span className="small wrap">{clock(it.at)} {it.model_uid}</span>
            <Button size="compact-xs" variant="default" onClick={() => change(draftOf(it.request))}>{text("launch.duplicate")}</Button>
          </li>
        ))}
      </ul>
    </details>
  );
}
