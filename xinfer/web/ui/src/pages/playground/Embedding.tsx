import { Button, Group, Stack, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";

import { api, type Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Failure } from "../Failure";
import { CodeTabs } from "../launch/Code";
import { embeddingCode, similarities } from "./code";
import { documents as examples } from "./examples";
import { Served } from "./Served";

interface Compared { matrix: number[][]; texts: string[]; dimensions: number; milliseconds: number; requestId: string }
const MOST = 30;

async function compared(model: string, texts: string[]): Promise<Compared> {
  const begun = performance.now();
  const { data, response } = await api.POST("/v1/embeddings", { body: { model, input: texts, encoding_format: "float" } as never });
  const vectors = (data as Schemas["EmbeddingsReply"]).data.map((it) => it.embedding as number[]);
  return { matrix: similarities(vectors), texts, dimensions: vectors[0]?.length ?? 0, milliseconds: performance.now() - begun, requestId: response.headers.get("x-request-id") ?? "" };
}

export function Embedding({ model }: { model: string }) {
  const text = useText();
  const [lines, setLines] = useState(() => examples(6).join("\n"));
  const [showing, setShowing] = useState(false);
  const texts = lines.split("\n").filter((line) => line.trim()).slice(0, MOST);
  const embed = useMutation({ mutationFn: () => compared(model, texts) });
  return (
    <Stack gap="sm">
      <Textarea label={text("play.texts")} autosize minRows={5} maxRows={12} value={lines} onChange={(event) => setLines(event.currentTarget.value)} />
      <Group>
        <Button loading={embed.isPending} disabled={!model || !texts.length} onClick={() => embed.mutate()}>{text("play.embed")}</Button>
        <Button variant="subtle" size="xs" aria-expanded={showing} onClick={() => setShowing(!showing)}>{text("play.code")}</Button>
      </Group>
      {embed.isError && <Failure error={embed.error} />}
      {showing && <CodeTabs title={text("play.code")} forms={embeddingCode(location.origin, model, texts)} />}
      {embed.data && <Matrix found={embed.data} />}
    </Stack>
  );
}

function Matrix({ found }: { found: Compared }) {
  const text = useText();
  return (
    <section className="panel scroll" aria-live="polite">
      <p style={{ marginTop: 0 }}>{text("play.took.texts", { ms: Math.round(found.milliseconds), count: found.texts.length })}; {text("play.dimensions", { n: found.dimensions })}</p>
      <Served requestId={found.requestId} />
      <table className="small" style={{ borderCollapse: "collapse" }}>
        <caption style={{ textAlign: "left" }}>{text("play.matrix")}</caption>
        <tbody>
          {found.matrix.map((row, i) => (
            <tr key={i}>
              <th scope="row" style={{ textAlign: "left", fontWeight: 400, maxWidth: 260, paddingRight: 8 }} className="wrap">{found.texts[i]}</th>
              {row.map((value, j) => <td key={j} className="mono" style={{ padding: "3px 6px", background: `color-mix(in srgb, var(--mantine-color-brand-6) ${Math.round(Math.max(0, value) * 45)}%, transparent)` }}>{value.toFixed(2)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
