import { Center, Loader, localStorageColorSchemeManager, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useState } from "react";
import { BrowserRouter, Navigate, Route, Routes, useNavigate } from "react-router-dom";

import { onUnauthorized, Problem } from "../api/client";
import { Words } from "../i18n";
import { ClusterPage } from "../pages/cluster/ClusterPage";
import { StoreContext } from "../stream/hooks";
import { ClusterStore } from "../stream/store";
import { Boundary } from "./Boundary";
import { Shell } from "./Shell";
import { theme } from "./theme";

const LaunchPage = lazy(() => import("../pages/launch/LaunchPage").then((it) => ({ default: it.LaunchPage })));
const ProgressPage = lazy(() => import("../pages/progress/ProgressPage").then((it) => ({ default: it.ProgressPage })));
const ModelPage = lazy(() => import("../pages/model/ModelPage").then((it) => ({ default: it.ModelPage })));
const PlaygroundPage = lazy(() => import("../pages/playground/PlaygroundPage").then((it) => ({ default: it.PlaygroundPage })));
const LogsPage = lazy(() => import("../pages/logs/LogsPage").then((it) => ({ default: it.LogsPage })));
const LoginPage = lazy(() => import("../pages/login/LoginPage").then((it) => ({ default: it.LoginPage })));

const nonce = document.querySelector<HTMLMetaElement>("meta[name=csp-nonce]")?.content ?? "";
const colours = localStorageColorSchemeManager({ key: "xinfer.theme" });

/** Bad requests stay bad; only what may pass is asked for again. */
function again(count: number, error: Error): boolean {
  return count < 2 && !(error instanceof Problem && error.status < 500);
}

export function App() {
  const [store] = useState(() => new ClusterStore());
  const [queries] = useState(() => new QueryClient({ defaultOptions: { queries: { retry: again, staleTime: 10_000, refetchOnWindowFocus: false } } }));
  useEffect(() => store.start(), [store]);
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" colorSchemeManager={colours} getStyleNonce={() => nonce}>
      <Words>
        <QueryClientProvider client={queries}>
          <StoreContext.Provider value={store}>
            <BrowserRouter>
              <Guard />
              <Shell>
                <Boundary>
                  <Suspense fallback={<Center p="xl"><Loader /></Center>}>
                    <Routes>
                      <Route path="/" element={<ClusterPage />} />
                      <Route path="/launch" element={<LaunchPage />} />
                      <Route path="/launches/*" element={<ProgressPage />} />
                      <Route path="/models/*" element={<ModelPage />} />
                      <Route path="/playground" element={<PlaygroundPage />} />
                      <Route path="/logs" element={<LogsPage />} />
                      <Route path="/login" element={<LoginPage />} />
                      <Route path="*" element={<Navigate to="/" replace />} />
                    </Routes>
                  </Suspense>
                </Boundary>
              </Shell>
            </BrowserRouter>
          </StoreContext.Provider>
        </QueryClientProvider>
      </Words>
    </MantineProvider>
  );
}

/** A server that asks for a key sends everyone to where it can be given. */
function Guard() {
  const go = useNavigate();
  useEffect(() => onUnauthorized(() => {
    if (location.pathname !== "/login") void go("/login", { state: { from: location.pathname + location.search } });
  }), [go]);
  return null;
}
