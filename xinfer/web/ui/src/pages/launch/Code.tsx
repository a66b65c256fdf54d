import { Button, CopyButton, Tabs } from "@mantine/core";

import { useText } from "../../i18n";
import { asCli, asCurl, asPython } from "./code";
import type { LaunchRequest } from "./draft";

/** The same launch as it would be typed. */
export function Code({ request }: { request: LaunchRequest }) {
  const text = useText();
  const origin = location.origin;
  const forms = { CLI: asCli(request, origin), curl: asCurl(request, origin), Python: asPython(request, origin) };
  return <CodeTabs title={text("launch.code")} forms={forms} />;
}

export function CodeTabs({ title, forms }: { title: string; forms: Record<string, string> }) {
  const text = useText();
  return (
    <section className="panel" aria-label={title}>
      <h2>{title}</h2>
      <Tabs defaultValue={Object.keys(forms)[0] ?? ""} keepMounted={false}>
        <Tabs.List>{Object.keys(forms).map((name) => <Tabs.Tab key={name} value={name}>{name}</Tabs.Tab>)}</Tabs.List>
        {Object.entries(forms).map(([name, code]) => (
          <Tabs.Panel key={name} value={name}>
            <pre className="mono wrap" data-code={name} style={{ whiteSpace: "pre-wrap", margin: "8px 0" }}>{code}</pre>
            <CopyButton value={code}>{({ copied, copy }) => <Button size="compact-xs" variant="default" onClick={copy}>{text(copied ? "common.copied" : "common.copy")}</Button>}</CopyButton>
          </Tabs.Panel>
        ))}
      </Tabs>
    </section>
  );
}
