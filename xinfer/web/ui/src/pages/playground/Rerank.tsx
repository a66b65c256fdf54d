import { Button, Group, Stack, Textarea, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Failure } from "../Failure";
import { CodeTabs } from "../launch/Code";
import { rerankCode } from "./code";
import { documents as examples, QUERY } from "./examples";
import { Served } from "./Served";

interface Ranked { reply: Schemas["RerankReply"]; requestId: string; milliseconds: number; documents: string[] }

async function ranked(model: string, query: string, documents: string[]): Promise<Ranked> {
  const begun = performance.now();
  const { data, response } = await api.POST("/v1/rerank", { body: { model, query, documents } as never });
  return { reply: data as Schemas["RerankReply"], requestId: response.headers.get("x-request-id") ?? "", milliseconds: performance.now() - begun, documents };
}

export function Rerank({ model }: { model: string }) {
  const text = useText();
  const [query, setQuery] = useState(QUERY);
  const [lines, setLines] = useState(() => examples(10).join("\n"));
  const [showing, setShowing] = useState(false);
  const documents = lines.split("\n").filter((line) => line.trim());
  const rank = useMutation({ mutationFn: () => ranked(model, query, documents) });
  return (
    <Stack gap="sm">
      <TextInput label={text("play.query")} value={query} onChange={(event) => setQuery(event.currentTarget.value)} />
      <Textarea label={text("play.documents")} autosize minRows={5} maxRows={12} value={lines} onChange={(event) => setLines(event.currentTarget.value)} />
      <Group>
        <Button loading={rank.isPending} disabled={!model || !query.trim() || !documents.length} onClick={() => rank.mutate()}>{text("play.rank")}</Button>
        {[10, 50].map((count) => <Button key={count} variant="default" size="xs" onClick={() => setLines(examples(count).join("\n"))}>{text("play.example", { n: count })}</Button>)}
        <Button variant="subtle" size="xs" aria-expanded={showing} onClick={() => setShowing(!showing)}>{text("play.code")}</Button>
      </Group>
      {rank.isError && <Failure error={rank.error} />}
      {showing && <CodeTabs title={text("play.code")} forms={rerankCode(location.origin, model, query, documents)} />}
      {rank.data && <Result found={rank.data} />}
    </Stack>
  );
}

function Result({ found }: { found: Ranked }) {
  const text = useText();
  return (
    <section className="panel" aria-live="polite">
      <p style={{ marginTop: 0 }} data-took>{text("play.took", { ms: Math.round(found.milliseconds), count: found.documents.length })}</p>
      <Served requestId={found.requestId} />
      <ol style={{ paddingLeft: 28 }}>
        {found.reply.results.map((hit) => (
          <li key={hit.index} data-rank={hit.index} style={{ marginBottom: 4 }}>
            <div style={{ display: "flex", gap: 8, alignItems: "center" }}>
              <span className="bar" style={{ flex: "0 0 120px" }} aria-hidden="true"><span style={{ width: `${Math.max(0, Math.min(1, hit.relevance_score)) * 100}%`, background: "var(--mantine-color-brand-6)" }} /></span>
              <span className="mono" title={text("play.score")}>{hit.relevance_score.toFixed(4)}</span>
              <span className="wrap">{found.documents[hit.index]}</span>
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}
