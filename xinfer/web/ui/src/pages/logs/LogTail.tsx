import { Button, Checkbox, Group } from "@mantine/core";
import { useEffect, useRef, useState } from "react";

import { api, data, type Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Failure } from "../Failure";

const EVERY = 1500;
const KEPT = 200_000;
type Written = Schemas["LogsReply"];

/** What a replica writes: its last lines, then what follows. */
export function LogTail({ modelUid, replica, lines = 200 }: { modelUid: string; replica: string; lines?: number }) {
  const text = useText();
  const [following, setFollowing] = useState(true);
  const { written, error } = useWritten(modelUid, replica, lines, following);
  const end = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (following && end.current) end.current.scrollTop = end.current.scrollHeight;
  }, [written, following]);
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([written ?? ""], { type: "text/plain" }));
    link.download = `${replica}.log`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <div>
      <Group my={6}>
        <Checkbox size="xs" label={text("logs.follow")} checked={following} onChange={(event) => setFollowing(event.currentTarget.checked)} />
        <Button size="compact-xs" variant="default" disabled={!written} onClick={save}>{text("logs.download")}</Button>
      </Group>
      {error && <Failure error={error} />}
      {/* A region that scrolls must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre ref={end} tabIndex={0} role="log" aria-label={replica} className="mono panel" style={{ maxHeight: 320, overflow: "auto", whiteSpace: "pre-wrap", margin: 0 }}>{written === "" ? text("logs.empty") : written}</pre>
    </div>
  );
}

/** Of one replica; whoever shows another one gives the component another key. */
function useWritten(modelUid: string, replica: string, lines: number, following: boolean) {
  const [written, setWritten] = useState<string | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const last = useRef<Written | null>(null);
  useEffect(() => {
    let stopped = false;
    let timer = 0;
    const ask = async () => {
      try {
        const from = last.current;
        const query = from?.worker_id ? { after: from.position, worker_id: from.worker_id } : { lines };
        const reply: Written = await data(api.GET("/v1/models/{model_uid}/replicas/{replica_id}/logs", { params: { path: { model_uid: modelUid, replica_id: replica }, query } }));
        if (stopped) return;
        last.current = reply;
        setWritten((before) => ((from?.worker_id ? (before ?? "") : "") + reply.text).slice(-KEPT));
        setError(null);
      } catch (failure) {
        if (!stopped) setError(failure as Error);
      }
      if (!stopped && following) timer = window.setTimeout(() => void ask(), EVERY);
    };
    void ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [modelUid, replica, lines, following]);
  return { written, error };
}
