import { Button, Code, PasswordInput, Stack } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useContext, useState } from "react";
import { useLocation, useNavigate } from "react-router-dom";

import { api, Problem, session } from "../../api/client";
import { useText } from "../../i18n";
import { StoreContext } from "../../stream/hooks";
import { Failure } from "../Failure";

/** The key is tried before it is kept, and is kept in this tab only. */
export function LoginPage() {
  const text = useText();
  const [key, setKey] = useState("");
  const { state } = useLocation() as { state: { from?: string } | null };
  const store = useContext(StoreContext);
  const go = useNavigate();
  const enter = useMutation({
    mutationFn: () => api.POST("/token", { body: { username: "", password: key.trim() } as never }),
    onSuccess: () => {
      session.enter(key.trim());
      store.restart();
      void go(state?.from ?? "/", { replace: true });
    },
  });
  const wrong = enter.error instanceof Problem && enter.error.status === 401;
  return (
    <Stack maw={420} mx="auto" mt="xl" className="panel">
      <h1>{text("login.title")}</h1>
      <p className="quiet" style={{ margin: 0 }}>{text("login.why")}</p>
      <form onSubmit={(event) => { event.preventDefault(); enter.mutate(); }}>
        <PasswordInput label={text("login.key")} autoComplete="off" value={key} onChange={(event) => setKey(event.currentTarget.value)} placeholder="xk-…" {...(wrong ? { error: text("login.wrong") } : {})} />
        <Button mt="sm" type="submit" loading={enter.isPending} disabled={!key.trim()}>{text("login.go")}</Button>
      </form>
      {enter.isError && !wrong && <Failure error={enter.error} />}
      <p className="quiet small" style={{ marginBottom: 0 }}>{text("login.make")}</p>
      <Code block>xinfer key create root --admin</Code>
    </Stack>
  );
}
