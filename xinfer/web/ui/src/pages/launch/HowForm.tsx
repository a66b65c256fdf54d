import { NumberInput, Select, TextInput } from "@mantine/core";

import { useText } from "../../i18n";
import { MOST, withReplicas } from "./draft";
import type { Editing } from "./WhatForm";

export function HowForm({ draft, change, engines }: Editing & { engines: readonly string[] }) {
  const text = useText();
  return (
    <section className="panel">
      <h2>{text("launch.how")}</h2>
      <NumberInput label={text("launch.replicas")} min={1} max={MOST} allowDecimal={false} value={draft.pins.length} onChange={(count) => change(withReplicas(draft, Number(count)))} />
      <Select mt="xs" label={text("launch.engine")} value={draft.engine} onChange={(engine) => change({ ...draft, engine: engine ?? "" })} data={[{ value: "", label: text("launch.engine.auto") }, ...engines]} allowDeselect={false} />
      <Select mt="xs" label={text("launch.dtype")} value={draft.dtype} onChange={(dtype) => change({ ...draft, dtype: (dtype ?? "auto") })} data={["auto", "float32", "float16", "bfloat16"]} allowDeselect={false} />
      <TextInput mt="xs" label={text("launch.memory")} description={text("launch.memory.help")} placeholder="2GiB" value={draft.memory} onChange={(event) => change({ ...draft, memory: event.currentTarget.value })} />
    </section>
  );
}
