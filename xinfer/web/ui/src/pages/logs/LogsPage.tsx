import { Group, Select, Stack, Tabs } from "@mantine/core";
import { useMemo, useState } from "react";

import { useText } from "../../i18n";
import type { Key } from "../../i18n/en";
import { useModels, useReplicas, useWorkers } from "../../stream/hooks";
import { EventTable } from "./EventTable";
import { LogTail } from "./LogTail";

export function LogsPage() {
  const text = useText();
  const [model, setModel] = useState("");
  const [worker, setWorker] = useState("");
  const [level, setLevel] = useState("");
  const [replica, setReplica] = useState("");
  const models = useModels();
  const workers = useWorkers();
  const replicas = useReplicas(model);
  const filter = useMemo(() => ({ model, worker, level }), [model, worker, level]);
  const all = { value: "", label: text("common.all") };
  const chosen = replicas.some((it) => it.replica_model_uid === replica) ? replica : (replicas[0]?.replica_model_uid ?? "");
  return (
    <Stack gap="sm">
      <h1>{text("logs.title")}</h1>
      <Group>
        <Select size="xs" label={text("common.model")} allowDeselect={false} value={model} onChange={(value) => setModel(value ?? "")} data={[all, ...models.map((it) => it.model_uid)]} />
        <Select size="xs" label={text("common.worker")} allowDeselect={false} value={worker} onChange={(value) => setWorker(value ?? "")} data={[all, ...workers.map((it) => ({ value: it.worker_id, label: it.address }))]} />
        <Select size="xs" label={text("logs.level")} allowDeselect={false} value={level} onChange={(value) => setLevel(value ?? "")} data={[all, ...["info", "warning", "error"].map((value) => ({ value, label: text(`logs.${value}` as Key) }))]} />
        <Select size="xs" label={text("common.replica")} disabled={!replicas.length} value={chosen || null} onChange={(value) => setReplica(value ?? "")} data={replicas.map((it) => it.replica_model_uid)} />
      </Group>
      <Tabs defaultValue="events" keepMounted={false}>
        <Tabs.List><Tabs.Tab value="events">{text("logs.events")}</Tabs.Tab><Tabs.Tab value="logs">{text("logs.logs")}</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="events"><EventTable filter={filter} /></Tabs.Panel>
        <Tabs.Panel value="logs">{chosen ? <LogTail key={chosen} modelUid={model} replica={chosen} lines={1000} /> : <p className="quiet">{text("logs.pick")}</p>}</Tabs.Panel>
      </Tabs>
    </Stack>
  );
}
