import { Anchor, Select, Stack, Tabs } from "@mantine/core";
import { useState } from "react";
import { Link, useSearchParams } from "react-router-dom";

import { useText } from "../../i18n";
import { useModels } from "../../stream/hooks";
import { Embedding } from "./Embedding";
import { Rerank } from "./Rerank";

const TYPES = ["rerank", "embedding"] as const;

export function PlaygroundPage() {
  const text = useText();
  const [query] = useSearchParams();
  const asked = query.get("model") ?? "";
  const models = useModels();
  const first = models.find((it) => it.model_uid === asked)?.model_type ?? models[0]?.model_type ?? "rerank";
  const [chosen, setChosen] = useState<string | null>(null);
  const tab = chosen ?? first;
  return (
    <Stack gap="sm">
      <h1>{text("play.title")}</h1>
      <Tabs value={tab} onChange={setChosen} keepMounted={false}>
        <Tabs.List>{TYPES.map((type) => <Tabs.Tab key={type} value={type}>{text(`play.${type}`)}</Tabs.Tab>)}</Tabs.List>
        {TYPES.map((type) => <Tabs.Panel key={type} value={type} pt="sm"><WithModel type={type} asked={asked} /></Tabs.Panel>)}
      </Tabs>
    </Stack>
  );
}

function WithModel({ type, asked }: { type: (typeof TYPES)[number]; asked: string }) {
  const text = useText();
  const models = useModels().filter((it) => it.model_type === type);
  const [chosen, setChosen] = useState(asked);
  const model = models.some((it) => it.model_uid === chosen) ? chosen : (models[0]?.model_uid ?? "");
  if (!model) return <p>{text("play.none", { type: text(`launch.type.${type}`) })} <Anchor component={Link} to="/launch" underline="always">{text("nav.launch")}</Anchor></p>;
  return (
    <Stack gap="sm">
      <Select label={text("common.model")} allowDeselect={false} maw={360} value={model} onChange={(value) => setChosen(value ?? "")} data={models.map((it) => it.model_uid)} />
      {type === "rerank" ? <Rerank model={model} /> : <Embedding model={model} />}
    </Stack>
  );
}
