import { NumberInput, Pill, Select, TextInput } from "@mantine/core";

import { useText } from "../../i18n";
import { type LaunchRequest, MOST, withoutRest, withReplicas } from "./draft";
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
      {Object.keys(draft.rest).length > 0 && (
        <>
          <p className="quiet small" style={{ margin: "10px 0 4px" }}>{text("launch.rest")}</p>
          <Pill.Group>
            {Object.entries(draft.rest).map(([field, value]) => (
              <Pill key={field} className="mono" withRemoveButton onRemove={() => change(withoutRest(draft, field as keyof LaunchRequest))} removeButtonProps={{ "aria-label": text("launch.rest.remove", { field }), tabIndex: 0, "aria-hidden": false }}>{field} = {JSON.stringify(value)}</Pill>
            ))}
          </Pill.Group>
        </>
      )}
    </section>
  );
}
